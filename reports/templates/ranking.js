/* The ranking: sorting, filters and search only move, hide and show rows; ranks and groups do not change. They use the data of the runs, not the
   rows, so a page with hundreds of runs responds immediately: the first rows are inserted at once, the others in idle time.
   Only the choice "Rank by" changes ranks and groups: it shows another ranking, which was computed with the page. */
const ranking = (() => {
  'use strict';
  const $ = id => document.getElementById(id), AT_ONCE = 60, A_TIME = 110; // rows inserted with a click, and per idle callback
  const table = $('rank'), heads = new Map([...table.querySelectorAll('[data-sort]')].map(head => [head.dataset.sort, head]));
  const numbered = [...heads.keys()].filter(key => key !== 'run'); // columns in the order of the numbers in `k`
  const menus = [...document.querySelectorAll('.menu[data-factor]')].map((menu, place) => {
    const boxes = [...menu.querySelectorAll('input')];
    return { key: menu.dataset.factor, place, menu, boxes, words: boxes.map(box => box.parentElement.textContent) };
  });
  const chooser = $('choose') ? [...$('choose').querySelectorAll('input')] : [], room = table.parentElement;
  const fade = () => room.classList.toggle('over', room.scrollWidth - room.clientWidth - room.scrollLeft > 1); // a fade shows that the box scrolls
  room.addEventListener('scroll', fade, { passive: true });
  addEventListener('resize', fade);
  const parsed = html => { const holder = document.createElement('template'); holder.innerHTML = html; return holder.content; }; // safe: escaped when the page was written
  const after = table.querySelector('tbody.apart, tbody.failed'), bodies = new Map([...table.querySelectorAll('tbody[data-group]')].map(body => [+body.dataset.group, body]));
  const written = new Map([...table.querySelectorAll('tbody[data-group] tr.row')].map(row => [row.dataset.id, row])), waiting = new Map(); // rows in the document, and rows that are still text
  for (const part of $('later-rows') ? $('later-rows').textContent.split('<!--end-->')[0].split('<!--group ').slice(1) : []) {
    const [opened, ...rest] = part.split('<!--row '), number = parseInt(opened, 10), html = text => text.slice(text.indexOf('-->') + 3);
    for (const text of rest) waiting.set(parseInt(text, 10), html(text));
    if (bodies.has(number)) continue;
    bodies.set(number, parsed(`<table>${html(opened)}</table>`).querySelector('tbody'));
    table.insertBefore(bodies.get(number), after);
  }
  let groups = [...bodies.values()];
  const placed = new Map(groups.map(body => [body, []]));
  let dress = () => {};

  /* the ranking that is shown: a row has its rank, tie group and P(best), and the score that decides the ranking */
  const by = $('by'), first = by ? by.options[0].value : '', span = (css, text) => { const e = document.createElement('span'); e.className = css; e.textContent = text; return e; };
  let wanted = first, ranked = null, rankings; // key of the chosen ranking; ranking that is shown, null before the first choice; all rankings
  const isOther = () => !!ranked && ranked.key !== first;
  const score = (row, [value, low, high]) => {
    const cell = row.querySelector('td.c-by') || document.createElement('td');
    if (!cell.parentElement) row.querySelector('.c-strip').before(cell);
    cell.className = 'c-by'; cell.setAttribute('role', 'cell');
    cell.dataset.l = ranked.head.join(', ');
    cell.replaceChildren(span('v', value), ...(low ? [span('s', `[${low}, ${high}]`)] : []));
  };
  const mark = (r, row) => {
    if (!ranked) return;
    const text = row.querySelector('.c-rank .t'), bar = row.querySelector('.c-rank svg'), [range, mean] = bar.querySelectorAll('rect'), [low, high] = r.place ? r.place.rank : [1, 1];
    const x = rank => 2 + 72 * (rank - 1) / Math.max(ranked.row.length - 1, 1);
    text.firstChild.textContent = !r.place ? '' : low === high ? `${low} ` : `${low}\u2013${high} `;
    text.querySelector('.gq').textContent = r.place ? `group ${r.group}` : r.group;
    bar.classList.toggle('off', !r.place);
    range.setAttribute('x', x(low) - 1.5); range.setAttribute('width', x(high) - x(low) + 3);
    mean.setAttribute('x', x(r.place ? r.place.mean : 1) - 1);
    const best = row.querySelector('.c-best .v'); // no column if no recipe has this number in the first ranking
    if (best) best.textContent = r.place ? r.place.best : '\u2013';
    row.querySelector('.c-best .verdict')?.toggleAttribute('hidden', isOther()); // about the lead in the first ranking
    score(row, r.place ? r.place.score : ['\u2013']);
  };
  const rows = JSON.parse($('ranked') ? $('ranked').textContent : '[]').map(({ id, g, name, what, k, f }, i) => {
    let row = written.get(id);
    const full = `${name} ${what}`, r = { id, group: g, at: g, body: bodies.get(g), factors: f, name, what, full,
      numbers: Object.fromEntries(numbered.map((key, j) => [key, k[j] ?? NaN])),
      text: [full, ...menus.map(m => m.words[f[m.place]])].join(' ').toLowerCase(),
      isWritten: () => !!row,
      get row() {
        if (!row) { row = parsed(`<table><tbody>${waiting.get(i)}</table>`).querySelector('tr'); mark(r, row); dress(r); }
        return row;
      } };
    if (row) placed.get(r.body).push(r);
    return r;
  });
  const byId = new Map(rows.map(r => [r.id, r]));
  const state = { key: 'rank', sign: 1 }, collator = new Intl.Collator('en');

  const firstSign = key => heads.get(key).hasAttribute('data-low') ? 1 : -1;
  const chosen = m => m.boxes.filter(box => box.checked).map(box => +box.value);
  const words = () => $('q') ? $('q').value.trim().toLowerCase().split(/\s+/).filter(Boolean) : [];

  const active = () => words().length > 0 || menus.some(m => chosen(m).length > 0);
  const ordered = () => ranked ? [...rows].sort((a, b) => a.at - b.at || a.numbers.rank - b.numbers.rank) : [...rows];
  const found = () => { // matching runs in the selected order
    const wanted = words(), sets = menus.map(m => [m, new Set(chosen(m))]).filter(([, set]) => set.size), { key, sign } = state;
    const fits = rows.filter(r => wanted.every(w => r.text.includes(w)) && sets.every(([m, set]) => set.has(r.factors[m.place])));
    return fits.sort((a, b) => {
      if (key === 'run') return sign * collator.compare(a.full, b.full) || a.numbers.rank - b.numbers.rank;
      if (key === 'rank') return sign * (a.at - b.at || a.numbers.rank - b.numbers.rank);
      const x = a.numbers[key], y = b.numbers[key];
      if (Number.isNaN(x) || Number.isNaN(y)) return Number.isNaN(x) - Number.isNaN(y) || a.numbers.rank - b.numbers.rank; // missing values last in both directions
      return sign * (x - y) || a.numbers.rank - b.numbers.rank;
    });
  };

  let queue = [], asked = 0;
  const append = (body, list) => { body.append(...list.map(r => r.row)); placed.get(body).push(...list); };
  const some = (most = Infinity) => { // insert up to `most` rows of the queue
    while (queue.length && most > 0) {
      const [body, list] = queue[0], now = list.splice(0, most);
      append(body, now);
      most -= now.length;
      if (!list.length) queue.shift();
    }
    table.toggleAttribute('data-unfinished', queue.length > 0);
  };
  const later = () => {
    if (asked || !queue.length) return;
    const go = () => { asked = 0; some(A_TIME); later(); };
    asked = window.requestIdleCallback ? requestIdleCallback(go, { timeout: 400 }) : setTimeout(go, 30);
  };
  const isKept = (body, wanted) => placed.get(body).length <= wanted.length && placed.get(body).every((r, i) => r === wanted[i]);
  const empty = body => { body.replaceChildren(...body.querySelectorAll('tr.grp')); placed.set(body, []); };
  const put = (body, wanted, room) => { // insert up to `room` rows and queue the others; return the remaining room
    const there = placed.get(body).length, now = wanted.slice(there, Math.max(there, room));
    append(body, now);
    if (wanted.length > there + now.length) queue.push([body, wanted.slice(there + now.length)]);
    return Math.max(0, room - there - now.length);
  };
  const isShut = body => state.key === 'rank' && body.classList.contains('closed') && !body.classList.contains('partly') && !table.classList.contains('found');
  const show = () => {
    const list = found(), flat = state.key !== 'rank', any = active();
    table.classList.toggle('found', any); // matches are shown in closed groups, too
    table.classList.toggle('flat', flat);
    queue = [];
    const plan = (flat || state.sign > 0 ? groups : [...groups].reverse()).map(body => {
      const own = flat ? [] : list.filter(r => r.body === body);
      body.hidden = flat ? body !== groups[0] : !own.length;
      if (flat && body === groups[0]) return [body, list];
      return [body, isShut(body) ? own.slice(0, isKept(body, own) ? placed.get(body).length : 0) : own]; // no further rows for a closed group
    });
    for (const [body, wanted] of plan) if (!isKept(body, wanted)) empty(body);
    plan.reduce((room, [body, wanted]) => put(body, wanted, room), AT_ONCE);
    some(0);
    later();
    for (const m of menus) {
      const many = chosen(m).length;
      m.menu.toggleAttribute('data-on', many > 0);
      m.menu.querySelector('summary').dataset.many = many || '';
    }
    if (!$('q')) return;
    $('reset').hidden = !any;
    $('none').hidden = list.length > 0;
    const by = heads.get(state.key).firstChild.textContent.trim();
    $('status').textContent = `${list.length} of ${rows.length} ${table.dataset.unit}s${isOther() ? `, ranked by ${ranked.words}` : ''}.`
      + (flat ? ` Sorted by ${/^[A-Z][a-z]/.test(by) ? by[0].toLowerCase() + by.slice(1) : by}; tie groups are shown when sorted by rank.` : '')
      + (any ? ` Ranks and groups are over all ${table.dataset.unit}s and do not change.` : '');
  };

  const order = () => {
    const { key, sign } = state;
    const ordered = sign < 0 && key === 'rank' ? [...groups].reverse() : groups;
    if (ordered.some((body, i) => table.tBodies[i] !== body)) for (const body of ordered) table.insertBefore(body, after);
    for (const [name, head] of heads) {
      const th = head.closest('th');
      if (name === key) th.setAttribute('aria-sort', sign > 0 ? 'ascending' : 'descending'); else th.removeAttribute('aria-sort');
    }
    if ($('sortsel')) $('sortsel').value = key;
    show();
  };
  const sortBy = key => {
    state.sign = state.key === key ? -state.sign : firstSign(key);
    state.key = key;
    order();
    if (rows.length > AT_ONCE && table.getBoundingClientRect().top < -200) table.scrollIntoView({ behavior: 'instant' }); // the first rows of the new order are above the window
  };

  const spanned = () => { // full-width cells span the visible columns; a larger span would add a column in a table with fixed layout
    const shown = [...heads.keys()].filter(key => !table.classList.contains('no-' + key)).length + 1 + !!table.querySelector('thead .c-pin');
    for (const cell of table.querySelectorAll('tr.grp th')) cell.colSpan = shown;
    for (const cell of table.querySelectorAll('td.why')) cell.colSpan = shown - 2 - !!table.querySelector('thead .c-pin');
  };
  const columns = () => {
    for (const box of chooser) table.classList.toggle('no-' + box.value, !box.checked);
    spanned();
    table.classList.toggle('more', chooser.some(box => box.checked && box.dataset.first === '0' && heads.has(box.value)));
    room.classList.toggle('wide', table.classList.contains('more') && table.offsetWidth > room.clientWidth); // otherwise the table head stays visible
    fade();
  };
  columns();
  const clear = () => { $('q').value = ''; for (const m of menus) for (const box of m.boxes) box.checked = false; show(); };

  const addColumn = () => { // the column of the score that decides the ranking
    if (heads.has('by')) return;
    const th = document.createElement('th'), head = document.createElement('button');
    th.className = 'c-by'; th.scope = 'col'; th.setAttribute('role', 'columnheader');
    head.type = 'button'; head.dataset.sort = 'by';
    head.append(span('', ''), span('arr', ''), span('u', ''));
    head.children[1].ariaHidden = 'true';
    th.append(head);
    table.querySelector('thead .c-strip').before(th);
    heads.set('by', head);
  };
  const showRanking = () => {
    const number = text => text === '< .01' ? 0 : parseFloat(text.replace('\u2212', '-'));
    addColumn();
    rows.forEach((r, i) => { Object.assign(r, { place: null, group: 'not ranked', at: ranked.groups.length }); Object.assign(r.numbers, { rank: i, best: NaN, by: NaN }); });
    ranked.row.forEach((i, k) => {
      const r = rows[i], place = { rank: ranked.rank[k], mean: ranked.mean[k], best: ranked.best[k], score: ranked.score[k] };
      Object.assign(r, { place, group: ranked.group[k] + 1, at: ranked.group[k] + 1 });
      Object.assign(r.numbers, { rank: place.mean, best: number(place.best), by: number(place.score[0]) });
    });
    for (const body of groups) { empty(body); body.remove(); }
    groups = ranked.groups.map(html => parsed(`<table>${html}</table>`).querySelector('tbody'));
    placed.clear();
    for (const body of groups) { placed.set(body, []); table.insertBefore(body, after); }
    for (const r of rows) { r.body = groups[r.at - 1]; if (r.isWritten()) mark(r, r.row); }
    [...table.querySelectorAll('tbody.apart tr.row')].forEach((row, i) => score(row, ranked.derived[i]));
    const head = heads.get('by');
    head.firstChild.textContent = ranked.head[0]; head.lastChild.textContent = ranked.head[1];
    head.toggleAttribute('data-low', !!ranked.low);
    table.classList.toggle('no-by', !isOther());
    table.caption.textContent = table.caption.textContent.replace(/ranked by .*\. Tied/, `ranked by ${ranked.words}. Tied`).replace(/groups: \d+/, `groups: ${ranked.groups.length}`);
    $('by-words').textContent = ranked.words;
    $('leader').replaceChildren(parsed(ranked.leader));
    $('leader').hidden = !isOther();
    if (state.key === 'by' && !isOther()) Object.assign(state, { key: 'rank', sign: 1 });
    columns();
    order();
  };
  const rankBy = async key => {
    if (!by) return;
    wanted = by.value = [...by.options].some(option => option.value === key) ? key : first;
    if (wanted === (ranked ? ranked.key : first)) return;
    try { rankings ??= JSON.parse(await unpacked('rankings')); } catch { wanted = by.value = first; $('status').textContent = 'This browser cannot show other rankings.'; return; }
    if (wanted === (ranked ? ranked.key : first)) return; // another choice was made meanwhile
    ranked = { key: wanted, ...rankings[wanted] };
    showRanking();
  };

  /* the state in the address of the page; unknown names are ignored */
  const write = view => {
    if (wanted !== first) view.set('by', wanted);
    if (state.key !== 'rank' || state.sign < 0) view.set('sort', (state.sign < 0 ? '-' : '') + state.key);
    if ($('q') && $('q').value.trim()) view.set('q', $('q').value.trim());
    for (const m of menus) if (chosen(m).length) view.set(m.key, chosen(m).map(i => m.words[i].replace(/[%,]/g, encodeURIComponent)).join(','));
    if (chooser.some(box => box.checked !== (box.dataset.first === '1'))) view.set('columns', chooser.filter(box => box.checked).map(box => box.value).join(','));
  };
  const read = view => {
    const wanted = /^(-?)([a-z]+\d*)$/.exec(view.get('sort') || '');
    if (by && [...by.options].some((option, i) => i && option.value === view.get('by'))) addColumn(); // its order may be wanted
    if (wanted && heads.has(wanted[2])) Object.assign(state, { key: wanted[2], sign: wanted[1] ? -1 : 1 });
    if ($('q')) $('q').value = (view.get('q') || '').slice(0, 80);
    for (const m of menus) {
      const asked = new Set((view.get(m.key) || '').split(','));
      m.boxes.forEach((box, i) => { box.checked = asked.has(m.words[i].replace(/[%,]/g, encodeURIComponent)); });
    }
    if (view.has('columns')) { const asked = new Set(view.get('columns').split(',')); for (const box of chooser) box.checked = asked.has(box.value); }
    columns();
    rankBy(view.get('by'));
  };

  if ($('sortsel')) $('sortsel').addEventListener('change', event => { state.key = ''; sortBy(event.target.value); });
  const fold = button => {
    const body = button.closest('tbody'), closed = body.classList.toggle('closed');
    button.setAttribute('aria-expanded', String(!closed));
    button.textContent = button.textContent.replace(/^\w+/, closed ? 'Show' : 'Hide');
    queue = queue.filter(([other]) => other !== body);
    if (!closed) put(body, found().filter(r => r.body === body), AT_ONCE);
    some(0);
    later();
  };
  addEventListener('beforeprint', () => some());
  return { table, unit: table.dataset.unit, heads, menus, rows, byId, state, sortBy, order, show, columns, clear, fold, read, write, found, ordered, rankBy, by: () => isOther() ? { key: ranked.key, words: ranked.words } : null, finish: some, dressed: how => { dress = how; } };
})();
