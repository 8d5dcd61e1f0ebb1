/* Pins: up to four pinned runs get letters in the ranking and in every scatter, and a comparison table with paired differences. */
const pins = (() => {
  'use strict';
  const $ = id => document.getElementById(id), LETTERS = 'ABCD';
  const data = $('compare-data') ? JSON.parse($('compare-data').textContent) : null;
  const named = new Map(data ? ranking.rows.map(({ id, name, what }) => [id, { id, name, what, label: `${name}, ${what}` }]) : []);
  let list = [], scores = null; // scores of each run, and differences by pair of ids; unpacked when two runs are pinned

  const el = (tag, css, ...kids) => { const e = document.createElement(tag); if (css) e.className = css; e.append(...kids); return e; };
  const signed = v => (v > 0 && +v.toFixed(3) !== 0 ? '+' : '') + places(v);
  const letter = id => { const k = list.indexOf(id); return k < 0 ? '' : LETTERS[k]; };

  const mark = (shape, attributes) => { const e = document.createElementNS(document.querySelector('svg').namespaceURI, shape); for (const [k, v] of Object.entries(attributes)) e.setAttribute(k, v); return e; };
  const bar = (d, most, wide) => { // thick line: interval of this difference; thin line: adjusted for all pairs in the ranking
    const width = 150, x = v => 4 + (width - 8) * (Math.max(-most, Math.min(most, v)) / most + 1) / 2;
    const svg = mark('svg', { viewBox: `0 0 ${width} 18`, width, height: 18, 'aria-hidden': 'true' });
    svg.append(mark('line', { x1: x(0), x2: x(0), y1: 0, y2: 18, class: 'z' }), mark('line', { x1: x(wide[0]), x2: x(wide[1]), y1: 9, y2: 9, class: 'thin' }),
      mark('line', { x1: x(d[1]), x2: x(d[2]), y1: 9, y2: 9, class: 'thick' }), mark('circle', { cx: x(d[0]), cy: 9, r: 4, class: clear(wide) ? 'dot' : 'dot o' }));
    return svg;
  };
  const axis = most => { // tick numbers of the strips: 0 and the largest round number on both sides
    const power = 10 ** Math.floor(Math.log10(most)), step = [5, 2, 1].map(m => m * power).find(v => v <= most), x = v => 4 + 142 * (v / most + 1) / 2;
    const svg = mark('svg', { viewBox: '0 0 150 18', width: 150, height: 18, class: 'ch', 'aria-hidden': 'true' }), text = v => v ? places(v).replace(/0+$/, '') : '0';
    for (const v of [-step, 0, step]) {
      const tick = mark('text', { x: x(v), y: 10, class: 'tk', 'text-anchor': 'middle' });
      tick.textContent = text(v);
      svg.append(tick, mark('line', { x1: x(v), x2: x(v), y1: 13, y2: 18, class: 'z' }));
    }
    return svg;
  };
  const clear = wide => wide[0] > 0 || wide[1] < 0;
  const pair = (first, other, k) => { // other minus first
    const there = scores.pairs[other + ' ' + first], back = scores.pairs[first + ' ' + other];
    if (there && there[k]) return there[k];
    if (!back || !back[k]) return null;
    const [value, low, high, thinLow, thinHigh] = back[k];
    return [-value, -high, -low, -thinHigh, -thinLow];
  };

  const compare = async () => {
    const section = $('compare'), pinned = list;
    if (!section) return;
    section.hidden = list.length < 2;
    if (section.hidden) return;
    scores ??= JSON.parse(await unpacked('compare-scores'));
    if (list !== pinned) return; // the pins changed in the meantime
    const shown = list.map(id => named.get(id)), [first, ...others] = shown;
    const found = data.measures.map((_, k) => others.map(o => pair(first.id, o.id, k)));
    const many = found.flat().filter(Boolean).length, wide = d => d.slice(3);
    const most = Math.max(.01, ...found.flat().filter(Boolean).flatMap(d => wide(d).map(Math.abs)));
    const head = el('tr', '', el('th', 'l', 'Metric'));
    shown.forEach((r, k) => { const th = el('th', 'l', el('span', 'letter', LETTERS[k]), ' ' + r.name, el('span', 's', k ? `${r.what} · minus A` : r.what)); if (k && many) th.append(axis(most)); head.append(th); });
    for (const th of head.children) th.scope = 'col';
    const body = el('tbody', '');
    data.measures.forEach((m, k) => {
      const row = el('tr', '', el('th', '', m.title, el('span', 's', m.note)));
      row.firstChild.scope = 'row';
      shown.forEach((r, i) => {
        const e = scores.runs[r.id][k], d = i ? found[k][i - 1] : null, td = el('td', 'l', el('span', 'v', e ? e[0] : '\u2013'));
        td.dataset.l = LETTERS[i];
        if (e && e[1]) td.append(el('span', 's', e[1]));
        if (d) td.append(bar(d, most, wide(d)), el('div', 'onlyphone axis-phone', axis(most)), el('span', 's', `${signed(d[0])} ${bracketed(d[1], d[2])}`), el('span', 's verdict', data.verdicts[clear(wide(d)) ? (d[0] > 0 ? 'above' : 'below') : clear(d.slice(1)) ? 'corrected' : 'unclear']));
        row.append(td);
      });
      body.append(row);
    });
    for (const m of ranking.menus) { // rows of the factors in which the pinned runs differ
      const values = list.map(id => m.words[ranking.byId.get(id).factors[m.place]]);
      if (new Set(values).size < 2) continue;
      const row = el('tr', '', el('th', '', m.menu.querySelector('summary').textContent), ...values.map((v, i) => { const td = el('td', 'l', v); td.dataset.l = LETTERS[i]; return td; }));
      row.firstChild.scope = 'row';
      body.append(row);
    }
    const caption = el('caption', 'vh', `${shown.length} pinned ${ranking.unit}s side by side`);
    $('cmpbody').replaceChildren(el('table', 't stack cmp', caption, el('thead', '', head), body),
      el('p', 'small', (many ? `Thick line: 95 % interval of this difference, same patients for both. Thin line, mark and verdict: corrected for all pairs in the ranking (Holm), as its groups are, but not for the number of metrics. ` : '')
        + (many < data.measures.length * others.length ? data.left : '')));
  };

  const dress = r => {
    const button = r.row.querySelector('[data-pin]'), at = letter(r.id);
    if (!button || button.textContent === (at || '+')) return;
    button.setAttribute('aria-pressed', String(!!at));
    button.textContent = at || '+';
  };
  ranking.dressed(dress);
  const show = () => {
    for (const r of ranking.rows) if (r.isWritten()) dress(r);
    const tray = $('tray');
    if (!tray) return;
    tray.hidden = !list.length;
    document.body.classList.toggle('pinned', list.length > 0);
    $('traynames').replaceChildren(...list.map((id, k) => {
      const off = el('button', 'btn', el('span', 'letter', LETTERS[k]), ' ', el('span', 'name', named.get(id).name), el('span', 'x', ' \u00d7'));
      off.type = 'button'; off.dataset.pin = id; off.setAttribute('aria-label', `Unpin ${named.get(id).label}`);
      return off;
    }));
    $('gocmp').disabled = list.length < 2;
    compare();
    document.querySelectorAll('.mk-letter').forEach(e => e.remove());
    for (const spot of document.querySelectorAll('.mk[data-run]')) {
      const at = letter(spot.dataset.run.slice(4)); // without "run-"
      if (!at) continue;
      const above = mark('text', { transform: spot.getAttribute('transform'), x: 6, y: -3, class: 'b halo mk-letter', 'text-anchor': 'middle' });
      above.textContent = at;
      spot.after(above);
    }
  };
  const toggle = id => {
    if (!named.has(id)) return '';
    if (list.includes(id)) list = list.filter(x => x !== id);
    else if (list.length < LETTERS.length) list = [...list, id];
    else return `Four ${ranking.unit}s are pinned; unpin one first`;
    show();
    return '';
  };
  const clearAll = () => { list = []; show(); };
  const read = view => { list = [...new Set((view.get('pin') || '').split(','))].filter(id => named.has(id)).slice(0, LETTERS.length); show(); };
  const write = view => { if (list.length) view.set('pin', list.join(',')); };
  return { toggle, clear: clearAll, read, write };
})();
