/* The ranking: sorting, filters and search only move, hide and show rows; ranks and groups do not change. They use the data of the runs, not the
   rows, so a page with hundreds of runs responds immediately: the first rows are inserted at once, the others in idle time. */
const ranking = (() => {
  'use strict';
  const $ = id => document.getElementById(id), AT_ONCE = 60, A_TIME = 110; // rows inserted with a click, and per idle callback
  const table = $('rank'), heads = new Map([...table.querySelectorAll('[data-sort]')].map(head => [head.dataset.sort, head]));
  const numbered = [...heads.keys()].filter(key => key !== 'run'); // columns in the order of the numbers in `k`
  const menus = [...document.querySelectorAll('.menu[data-factor]')].map((menu, place) => {
    const boxes = [...menu.querySelectorAll('input')];
    return { key: menu.dataset.factor, place, menu, boxes, words: boxes.map(box => box.parentElement.textContent) };
  });
  const chooser = $('choose') ? [...$('choose').querySelectorAll('input')] : [];
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
  const groups = [...bodies.values()], placed = new Map(groups.map(body => [body, []]));
  let dress = () => {};
  const rows = JSON.parse($('ranked') ? $('ranked').textContent : '[]').map(({ id, g, name, what, k, f }, i) => {
    let row = written.get(id);
    const full = `${name} ${what}`, r = { id, group: g, body: bodies.get(g), factors: f, name, what, full,
      numbers: Object.fromEntries(numbered.map((key, j) => [key, k[j] ?? NaN])),
      text: [full, ...menus.map(m => m.words[f[m.place]])].join(' ').toLowerCase(),
      isWritten: () => !!row,
      get row() {
        if (!row) { row = parsed(`<table><tbody>${waiting.get(i)}</table>`).querySelector('tr'); dress(r); }
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
  const ordered = () => [...rows];
  const found = () => { // matching runs in the selected order
    const wanted = words(), sets = menus.map(m => [m, new Set(chosen(m))]).filter(([, set]) => set.size), { key, sign } = state;
    const fits = rows.filter(r => wanted.every(w => r.text.includes(w)) && sets.every(([m, set]) => set.has(r.factors[m.place])));
    return fits.sort((a, b) => {
      if (key === 'run') return sign * collator.compare(a.full, b.full) || a.numbers.rank - b.numbers.rank;
      if (key === 'rank') return sign * (a.group - b.group || a.numbers.rank - b.numbers.rank);
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
    $('status').textContent = `${list.length} of ${rows.length} ${table.dataset.unit}s.`
      + (flat ? ` Sorted by ${by.toLowerCase() === by || by.length < 4 ? by : by[0].toLowerCase() + by.slice(1)}; tie groups are shown when sorted by rank.` : '')
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
  spanned();
  const columns = () => {
    for (const box of chooser) table.classList.toggle('no-' + box.value, !box.checked);
    spanned();
    table.classList.toggle('more', chooser.some(box => box.checked && box.dataset.first === '0'));
    table.parentElement.classList.toggle('wide', table.classList.contains('more') && table.offsetWidth > table.parentElement.clientWidth); // otherwise the table head stays visible
  };
  const clear = () => { $('q').value = ''; for (const m of menus) for (const box of m.boxes) box.checked = false; show(); };

  /* the state in the address of the page; unknown names are ignored */
  const write = view => {
    if (state.key !== 'rank' || state.sign < 0) view.set('sort', (state.sign < 0 ? '-' : '') + state.key);
    if ($('q') && $('q').value.trim()) view.set('q', $('q').value.trim());
    for (const m of menus) if (chosen(m).length) view.set(m.key, chosen(m).map(i => m.words[i].replace(/[%,]/g, encodeURIComponent)).join(','));
    if (chooser.some(box => box.checked !== (box.dataset.first === '1'))) view.set('columns', chooser.filter(box => box.checked).map(box => box.value).join(','));
  };
  const read = view => {
    const wanted = /^(-?)([a-z]+)$/.exec(view.get('sort') || '');
    if (wanted && heads.has(wanted[2])) Object.assign(state, { key: wanted[2], sign: wanted[1] ? -1 : 1 });
    if ($('q')) $('q').value = (view.get('q') || '').slice(0, 80);
    for (const m of menus) {
      const asked = new Set((view.get(m.key) || '').split(','));
      m.boxes.forEach((box, i) => { box.checked = asked.has(m.words[i].replace(/[%,]/g, encodeURIComponent)); });
    }
    if (view.has('columns')) { const asked = new Set(view.get('columns').split(',')); for (const box of chooser) box.checked = asked.has(box.value); }
    columns();
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
  return { table, unit: table.dataset.unit, heads, menus, rows, byId, state, sortBy, order, show, columns, clear, fold, read, write, found, ordered, finish: some, dressed: how => { dress = how; } };
})();
