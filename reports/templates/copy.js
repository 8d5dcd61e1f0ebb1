/* Copying: the ranked rows that match the filters, including closed groups, with intervals and tie groups. A message states how many rows were
   left out. Cells that a spreadsheet would execute are copied as text. For synthetic hospitals, each format says so: as a column (CSV) or below the
   table. */
const copying = (() => {
  'use strict';
  const topLayer = () => drawer.dialog.open ? drawer.dialog : document.body; // an open dialog makes the rest of the page inert
  const say = text => {
    if (!text) return;
    const t = document.getElementById('toast');
    topLayer().append(t);
    t.textContent = text; t.hidden = false; setTimeout(() => { t.hidden = true; }, 4500);
  };
  const plain = text => text.replace(/\u2212/g, '-').replace(/[\u202f\u00a0]/g, '').replace(/(^|[^\d])\.(\d)/g, '$10.$2').trim();
  const shownColumns = () => [...ranking.heads.keys()].filter(key => key !== 'rank' && key !== 'run' && !ranking.table.classList.contains('no-' + key));
  const cells = ({ row, group }, columns) => {
    const name = row.querySelector('.c-run a').textContent, what = row.querySelector('.c-run .f').textContent, rank = row.querySelector('.t');
    return [rank ? rank.firstChild.textContent.trim() : '', String(group ?? row.querySelector('.tag').textContent), name, what, ...columns.map(key => {
      const td = row.querySelector('.c-' + key), small = td.querySelector('.s:not(.verdict, .warn)')?.textContent || '';
      const ci = td.dataset.ci?.split(' ') || small.match(/^\[([\u2212.\d]+), ([\u2212.\d]+)\]$/)?.slice(1) || []; // data-ci: an interval that the cell does not show
      if (key === 'sources') return { value: [...[...td.querySelectorAll('a')].map(link => link.href), small].filter(Boolean).join(' '), ci: [], at: '' };
      return { value: plain(td.querySelector('.v').textContent).replace('\u2013', ''), ci: ci.map(plain), at: key === 'worst' ? small : '' };
    })];
  };
  const csvCell = raw => { const text = raw.replace(/;(\s*)(?=[=+@])/g, ";$1'"), safe = /^[=+\-@\t\r]/.test(text) && !/^-?[\d.]+$/.test(text) ? "'" + text : text; return /[",\r\n]/.test(safe) ? '"' + safe.replace(/"/g, '""') + '"' : safe; };
  const csv = rows => rows.map(row => row.map(csvCell).join(',')).join('\r\n');
  const texMarks = { '\\': '\\textbackslash{}', '~': '\\textasciitilde{}', '^': '\\textasciicircum{}', '\u2013': '--', '\u00b7': '$\\cdot$', '<': '$<$', '>': '$>$', '|': '\\textbar{}' };
  const oneLine = text => text.replace(/\s+/g, ' ');
  const texCell = text => oneLine(text).replace(/[\\~^\u2013\u00b7<>|&%$#_{}]/g, c => texMarks[c] || '\\' + c);
  const mdCell = text => oneLine(text).replace(/[\\|<>&*_`[\]]/g, '\\$&');
  const withInterval = c => c.value + (c.ci.length === 2 ? ` [${c.ci.join(', ')}]` : '') + (c.at ? ` (${c.at})` : '');
  const note = ranking.table.dataset.note, unit = ranking.unit.replace(/^./, c => c.toUpperCase());
  const below = () => [...(ranking.by() ? [`Ranked by ${ranking.by().words}.`] : []), ...(note ? [note] : [])].join(' ');
  const writers = {
    csv: (list, columns, names) => {
      const head = ['rank', 'group', ranking.unit, 'family and difference', ...names.flatMap((n, i) => columns[i] === 'worst' ? [n, n + ' low', n + ' high', n + ' hospital'] : [n, n + ' low', n + ' high']), ...(ranking.by() ? ['ranked by'] : []), ...(note ? ['images'] : [])];
      const line = r => { const [rank, group, run, what, ...rest] = cells(r, columns);
        return [rank.replace('\u2013', ' to '), group, run, what, ...rest.flatMap((c, i) => [c.value, c.ci[0] || '', c.ci[1] || '', ...(columns[i] === 'worst' ? [c.at] : [])]), ...(ranking.by() ? [ranking.by().words] : []), ...(note ? ['synthetic'] : [])]; };
      return csv([head, ...list.map(line)]);
    },
    md: (list, columns, names) => {
      const head = ['Rank', 'Group', unit, 'Family, difference from base recipe', ...names];
      return [head, head.map(() => '---'), ...list.map(r => { const [rank, group, run, what, ...rest] = cells(r, columns); return [rank, group, mdCell(run), mdCell(what), ...rest.map(c => mdCell(c.value) + mdCell(withInterval({ ...c, value: '' })).replace(/\\([[\]])/g, '$1'))]; })]
        .map(row => '| ' + row.join(' | ') + ' |').join('\n') + (below() ? '\n\n' + below() : '');
    },
    tex: (list, columns, names) => {
      let last = null;
      const body = list.map(r => { const [rank, group, run, what, ...rest] = cells(r, columns), rule = last !== null && last !== group && ranking.state.key === 'rank' ? '\\midrule\n' : ''; last = group;
        return rule + [rank, group, run, what, ...rest.map(withInterval)].map(texCell).join(' & ') + ' \\\\'; });
      return `\\begin{tabular}{llll${'r'.repeat(names.length)}}\n\\toprule\n${['Rank', 'Group', unit, 'Family, difference from base recipe', ...names].map(texCell).join(' & ')} \\\\\n\\midrule\n${body.join('\n')}\n\\bottomrule\n${below() ? `\\multicolumn{${4 + names.length}}{l}{\\footnotesize ${texCell(below())}} \\\\\n` : ''}\\end{tabular}`;
    },
  };
  const copy = async (text, said) => {
    try { await navigator.clipboard.writeText(text); } catch {
      const area = document.createElement('textarea');
      area.value = text; topLayer().append(area); area.select(); document.execCommand('copy'); area.remove();
    }
    say(said);
  };
  const many = (n, word) => `${n} ${word}${n === 1 ? '' : 's'}`;
  const ranked = (kind, what) => {
    const columns = shownColumns(), names = columns.map(key => ranking.heads.get(key).closest('th').dataset.name ?? ranking.heads.get(key).firstChild.textContent.trim());
    const list = ranking.found(), rows = name => [...ranking.table.querySelectorAll(`tbody.${name} tr.row`)].map(row => ({ row }));
    const made = rows('apart'), left = rows('failed').length, all = ranking.rows.length;
    const said = `${what} copied: ${list.length < all ? `${list.length} of ${many(all, `ranked ${ranking.unit}`)}` : many(all, `ranked ${ranking.unit}`)}${made.length ? `, ${many(made.length, 'derived run')}` : ''}${left ? `; ${many(left, 'run')} without a rank not copied` : ''}${ranking.by() ? `; ranked by ${ranking.by().words}` : ''}`;
    return copy(writers[kind]([...list, ...made], columns, names), said);
  };
  return { say, copy, ranked, cells, csv, plain };
})();
