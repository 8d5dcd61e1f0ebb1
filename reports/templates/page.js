/* The page: sort, search, filter, copy, the run's drawer. Text goes in as text, never as HTML. */
(() => {
  'use strict';
  const $ = id => document.getElementById(id);
  const say = text => { const t = $('toast'); t.textContent = text; t.hidden = false; setTimeout(() => { t.hidden = true; }, 2200); };

  const table = $('rank'), groups = [...table.querySelectorAll('tbody[data-group]')];
  const rows = groups.flatMap(body => [...body.querySelectorAll('tr.row')].map(row => ({ row, body, keys: row.dataset.k.split(' ').map(Number),
    factors: row.dataset.f.split('\t'), text: row.querySelector('.c-run').textContent.toLowerCase() + ' ' + row.dataset.f.toLowerCase() })));
  const heads = [...table.querySelectorAll('[data-sort]')], selects = [...document.querySelectorAll('[data-factor]')];
  const lowFirst = new Set([0, 4, 5, 6, 7, 8]); // rank, gap, ECE, shortcut, params, GMACs
  let sort = { column: 0, sign: 1 };

  const filter = () => {
    if (!$('q')) return;
    const words = $('q').value.trim().toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const r of rows) {
      const ok = words.every(w => r.text.includes(w)) && selects.every(s => !s.value || r.factors[+s.dataset.factor] === s.value);
      r.row.hidden = !ok;
      shown += ok;
    }
    for (const body of groups) body.hidden = !body.querySelector('tr.row:not([hidden])');
    for (const s of selects) s.toggleAttribute('data-on', !!s.value);
    const active = words.length || selects.some(s => s.value);
    $('reset').hidden = !active;
    $('none').hidden = shown > 0;
    $('status').textContent = `${shown} of ${rows.length} runs.` + (active || sort.column ? ' Ranks and groups are over all runs and do not change.' : '');
  };

  const order = () => {
    const { column, sign } = sort, flat = column !== 0;
    table.classList.toggle('flat', flat);
    const value = r => r.keys[column];
    const sorted = [...rows].sort((a, b) => {
      const x = value(a), y = value(b);
      if (Number.isNaN(x) || Number.isNaN(y)) return Number.isNaN(x) - Number.isNaN(y); // missing last in both directions
      return sign * (x - y) || a.keys[0] - b.keys[0];
    });
    if (flat) for (const r of sorted) groups[0].append(r.row);
    else for (const r of sorted) r.body.append(r.row);
    const parent = table, bodies = sign < 0 && !flat ? [...groups].reverse() : groups;
    const apart = table.querySelector('tbody.apart, tbody.failed');
    for (const body of bodies) parent.insertBefore(body, apart);
    for (const h of heads) {
      const th = h.closest('th');
      if (+h.dataset.sort === column) th.setAttribute('aria-sort', sign > 0 ? 'ascending' : 'descending'); else th.removeAttribute('aria-sort');
    }
    if ($('sortsel')) $('sortsel').value = String(column);
    filter();
  };
  const sortBy = column => { sort = { column, sign: sort.column === column ? -sort.sign : lowFirst.has(column) ? 1 : -1 }; order(); keep(); };

  /* the fragment holds sort, search and filters; unknown values are dropped */
  const keep = () => {
    const state = new URLSearchParams();
    if (sort.column || sort.sign < 0) state.set('sort', (sort.sign < 0 ? '-' : '') + sort.column);
    if ($('q') && $('q').value.trim()) state.set('q', $('q').value.trim());
    for (const s of selects) if (s.value) state.set(s.id, s.value);
    history.replaceState(null, '', String(state) ? '#' + state : location.pathname + location.search);
  };
  const restore = () => {
    const text = location.hash.slice(1);
    if (!text.includes('=')) return;
    const state = new URLSearchParams(text), wanted = /^(-?)(\d+)$/.exec(state.get('sort') || '');
    if (wanted && +wanted[2] < heads.length) sort = { column: +wanted[2], sign: wanted[1] ? -1 : 1 };
    if ($('q')) $('q').value = (state.get('q') || '').slice(0, 80);
    for (const s of selects) if ([...s.options].some(o => o.value === state.get(s.id))) s.value = state.get(s.id);
  };

  /* copy: what is on screen, with intervals and groups */
  const plain = text => text.replace(/\u2212/g, '-').replace(/[\u202f\u00a0]/g, '').replace(/(^|[^\d])\.(\d)/g, '$10.$2').trim();
  const cells = r => {
    const tds = [...r.row.querySelectorAll('td[data-l]')];
    return [r.row.querySelector('.t').firstChild.textContent.trim(), r.body.dataset.group, r.row.querySelector('.c-run a').textContent, r.row.querySelector('.c-run .f').textContent,
      ...tds.map(td => ({ value: plain(td.querySelector('.v').textContent).replace('\u2013', ''), ci: (td.dataset.ci || '').split(' '), at: td.classList.contains('c-worst') ? td.querySelector('.s').textContent : '' }))];
  };
  const names = heads.slice(1).map(h => h.firstChild.textContent.trim());
  const csvCell = text => { const safe = /^[=+\-@\t\r]/.test(text) && !/^-?[\d.]+$/.test(text) ? "'" + text : text; return /[",\n]/.test(safe) ? '"' + safe.replace(/"/g, '""') + '"' : safe; };
  const texCell = text => text.replace(/\\/g, '\\textbackslash ').replace(/[&%$#_{}]/g, c => '\\' + c).replace(/~/g, '\\textasciitilde ').replace(/\^/g, '\\textasciicircum ').replace(/\u2013/g, '--').replace(/\u00b7/g, '$\\cdot$');
  const mdCell = text => text.replace(/[\\|<>*_`[\]]/g, '\\$&');
  const withInterval = c => c.value + (c.ci.length === 2 ? ` [${c.ci.map(x => (+x).toFixed(3)).join(', ')}]` : '') + (c.at ? ` (${c.at})` : '');
  const writers = {
    csv: list => [['rank', 'group', 'run', 'what', ...names.flatMap(n => [n, n + ' low', n + ' high'])], ...list.map(r => { const [rank, group, run, what, ...rest] = cells(r);
      return [rank.replace('\u2013', ' to '), group, run, what, ...rest.flatMap(c => [c.value, c.ci[0] || '', c.ci[1] || ''])]; })].map(line => line.map(csvCell).join(',')).join('\r\n'),
    md: list => { const head = ['Rank', 'Group', 'Run', 'What', ...names]; return [head, head.map(() => '---'), ...list.map(r => { const [a, b, c, d, ...rest] = cells(r);
      return [a, b, mdCell(c), mdCell(d), ...rest.map(x => withInterval(x).replace(/\|/g, '\\|'))]; })].map(line => '| ' + line.join(' | ') + ' |').join('\n'); },
    tex: list => { let last = null; const body = list.map(r => { const [a, b, c, d, ...rest] = cells(r); const rule = last !== null && last !== b && sort.column === 0 ? '\\midrule\n' : ''; last = b;
      return rule + [a, b, c, d, ...rest.map(withInterval)].map(texCell).join(' & ') + ' \\\\'; });
      return `\\begin{tabular}{llll${'r'.repeat(names.length)}}\n\\toprule\n${['Rank', 'Group', 'Run', 'What', ...names].map(texCell).join(' & ')} \\\\\n\\midrule\n${body.join('\n')}\n\\bottomrule\n\\end{tabular}`; },
  };
  const shownRows = () => [...table.querySelectorAll('tbody[data-group] tr.row:not([hidden])')].map(row => rows.find(r => r.row === row));
  const copy = async (text, what) => {
    try { await navigator.clipboard.writeText(text); } catch {
      const area = document.createElement('textarea');
      area.value = text; document.body.append(area); area.select(); document.execCommand('copy'); area.remove();
    }
    say(what + ' copied');
  };

  /* a run opens in a drawer; its content moves there and back */
  const drawer = $('drawer');
  let opened = null;
  const shut = () => { if (!opened) return; opened.entry.append(opened.body); opened = null; };
  const show = id => {
    const entry = id.startsWith('run-') ? $(id) : null;
    if (!entry || !entry.matches('details.run')) return false;
    if (drawer.open) drawer.close();
    shut();
    opened = { entry, body: entry.querySelector('.rd') };
    const summary = entry.querySelector('summary');
    $('drawer-name').textContent = [...summary.querySelectorAll('.rn, .f')].map(e => e.textContent).join(' · ');
    $('drawer-body').replaceChildren(opened.body);
    drawer.showModal();
    drawer.scrollTop = 0;
    return true;
  };
  drawer.addEventListener('close', () => { shut(); if (location.hash.startsWith('#run-')) keep(); });

  document.addEventListener('click', event => {
    const at = name => event.target.closest(`[data-${name}]`);
    const hit = { sort: at('sort'), run: at('run'), copy: at('copy'), heat: at('heat'), copycmd: at('copycmd'), close: at('close') };
    if (hit.sort) sortBy(+hit.sort.dataset.sort);
    if (hit.run && show(hit.run.dataset.run)) event.preventDefault();
    if (hit.copy) copy(writers[hit.copy.dataset.copy](shownRows()), hit.copy.textContent);
    if (hit.copycmd) copy($(hit.copycmd.dataset.copycmd).textContent, 'Command');
    if (hit.close || event.target === drawer) drawer.close();
    if (hit.heat) {
      $('heat').classList.toggle('gap', hit.heat.dataset.heat === 'gap');
      for (const b of document.querySelectorAll('[data-heat]')) b.setAttribute('aria-pressed', String(b === hit.heat));
    }
    if (event.target.id === 'reset' || event.target.id === 'none-clear') { $('q').value = ''; for (const s of selects) s.value = ''; filter(); keep(); $('q').focus(); }
  });
  document.addEventListener('input', event => { if (event.target.id === 'q' || event.target.dataset.factor) { filter(); keep(); } });
  if ($('sortsel')) $('sortsel').addEventListener('change', event => { sort = { column: -1, sign: 1 }; sortBy(+event.target.value); });
  addEventListener('hashchange', () => { show(location.hash.slice(1)); });
  if (matchMedia('(max-width: 760px)').matches && $('tools')) $('tools').open = false;
  if (rows.length) { restore(); order(); }
  show(location.hash.slice(1));
})();
