/* Downloads: the whole ranking as CSV or JSON, and each folded table as CSV. The files are made from the page, without a network request. */
const downloads = (() => {
  'use strict';
  const { grid, commit, date, note } = ranking.table.dataset, images = note ? 'synthetic' : 'real';
  const save = (text, type, name) => {
    const link = document.createElement('a');
    link.href = URL.createObjectURL(new Blob([text], { type }));
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
    copying.say(`${name} saved`);
  };

  const ranked = kind => { // all rows and columns, also those that filters or the column menu hide
    const by = ranking.by(), columns = [...ranking.heads.keys()].filter(key => key !== 'rank' && key !== 'run' && (by || key !== 'by'));
    const file = `${grid}-ranking${by ? `-${by.key.replace(/[^A-Za-z0-9]+/g, '-')}` : ''}`, words = by ? by.words : document.getElementById('by-words').textContent;
    const derived = [...ranking.table.querySelectorAll('tbody.apart tr.row')].map(row => ({ row }));
    const records = [...ranking.ordered(), ...derived].map(r => {
      const [rank, group, name, what, ...scores] = copying.cells(r, columns), [low, high] = rank.split('\u2013');
      return { id: r.row.querySelector('.c-run a').dataset.run.slice('run-'.length), rank: low ? [low, high ?? low] : [], group, name, what, scores };
    });
    const titles = columns.map(key => ranking.heads.get(key)).map(head => head.firstChild.textContent.trim());
    if (kind === 'json') {
      const number = text => text === '' ? null : Number.isNaN(Number(text)) ? text : Number(text);
      const rows = records.map(({ id, rank, group, name, what, scores }) => ({ id, rank: rank.map(Number), group: rank.length ? Number(group) : group, name, what,
        scores: Object.fromEntries(columns.map((key, i) => [key, { value: number(scores[i].value), ...(scores[i].ci.length ? { low: number(scores[i].ci[0]), high: number(scores[i].ci[1]) } : {}), ...(scores[i].at ? { hospital: scores[i].at } : {}) }])) }));
      const content = { grid, commit, date, synthetic: !!note, unit: ranking.unit, 'ranked by': words, columns: Object.fromEntries(columns.map((key, i) => [key, `${titles[i]}, ${ranking.heads.get(key).querySelector('.u').textContent}`])), rows };
      return save(JSON.stringify(content, null, 1) + '\n', 'application/json', `${file}.json`);
    }
    const bounded = columns.map((_, i) => records.some(r => r.scores[i].ci.length));
    const placed = columns.map((_, i) => records.some(r => r.scores[i].at));
    const head = ['id', 'rank low', 'rank high', 'group', ranking.unit, 'what', ...titles.flatMap((w, i) => [w, ...(bounded[i] ? [w + ' low', w + ' high'] : []), ...(placed[i] ? [w + ' hospital'] : [])]), 'ranked by', 'grid', 'commit', 'date', 'images'];
    const lines = records.map(r => [r.id, r.rank[0] ?? '', r.rank[1] ?? '', r.group, r.name, r.what,
      ...r.scores.flatMap((s, i) => [s.value, ...(bounded[i] ? [s.ci[0] ?? '', s.ci[1] ?? ''] : []), ...(placed[i] ? [s.at] : [])]), words, grid, commit, date, images]);
    return save(copying.csv([head, ...lines]), 'text/csv', `${file}.csv`);
  };

  /* A cell is split into its text, its interval (two numbers), and small print below. Figures and hidden text are left out. */
  const isInterval = text => /^\[(-?\d*\.?\d+), (-?\d*\.?\d+)\]$/.exec(text);
  const parts = cell => {
    const found = { text: '', bounds: null, small: [] };
    for (const node of cell.childNodes) {
      if (node.nodeType === 1 && (node.nodeName === 'svg' || !node.getClientRects().length)) continue;
      const shown = copying.plain(node.innerText ?? node.textContent).replace(/\s+/g, ' ');
      const text = shown === '\u2013' ? '' : shown.replace(/^\+(?=[\d.]+$)/, ''), bounds = isInterval(text);
      if (bounds && cell.tagName === 'TD') found.bounds = bounds.slice(1);
      else if (found.text && node.nodeType === 1 && node.matches('.s, .f, i, p')) found.small.push(text);
      else found.text = `${found.text} ${text}`.trim();
    }
    return found;
  };
  const lines = table => {
    const cells = [];
    [...table.rows].forEach((row, i) => {
      cells[i] ??= [];
      let j = 0;
      for (const cell of row.cells) {
        while (cells[i][j]) j++;
        for (let down = 0; down < cell.rowSpan; down++) for (let right = 0; right < cell.colSpan; right++) (cells[i + down] ??= [])[j + right] = right ? { text: '', small: [] } : parts(cell);
        j += cell.colSpan;
      }
    });
    const many = Math.max(...cells.map(row => row.length)), num = table.tHead ? table.tHead.rows.length : 0, body = cells.slice(num);
    const has = [...Array(many).keys()].map(j => [body.some(row => row[j]?.text), body.some(row => row[j]?.bounds), body.some(row => row[j]?.small.length)]);
    const column = (j, value, low, high, small) => [...(has[j][0] || !has[j][1] ? [value] : []), ...(has[j][1] ? [low, high] : []), ...(has[j][2] ? [small] : [])];
    const line = (row, isHead) => has.flatMap((_, j) => {
      const { text, bounds, small } = row[j] ?? { text: '', small: [] }, word = [text, ...small].join(' ');
      return isHead ? column(j, word, `${word} low`.trim(), `${word} high`.trim(), `${word} note`.trim()) : column(j, text, bounds?.[0] ?? '', bounds?.[1] ?? '', small.join('; '));
    });
    return cells.map((row, i) => [...line(row, i < num), ...(note ? [i < num ? 'images' : images] : [])]);
  };
  const slug = text => text.toLowerCase().replace(/[^a-z0-9]+/g, '-').replace(/^-|-$/g, '');
  const tables = details => {
    const title = block => slug(block.querySelector('summary').textContent), section = details.closest('section, .open');
    const same = [...section.querySelectorAll('details.data')].filter(block => title(block) === title(details));
    const name = [grid, section.id || 'opening', title(details), ...(same.length > 1 ? [same.indexOf(details) + 1] : [])].join('-');
    save([...details.querySelectorAll('table')].map(table => copying.csv(lines(table))).join('\r\n\r\n'), 'text/csv', `${name}.csv`);
  };
  const offer = details => { // a button in an opened block of tables
    if (!details.matches('details.data:not(.more, .list)') || details.closest('details:not([open])') || !details.querySelector('table') || details.querySelector('[data-tables]')) return;
    const button = document.createElement('button');
    Object.assign(button, { type: 'button', className: 'btn', textContent: 'Download CSV' });
    button.dataset.tables = '';
    details.querySelector('summary').after(button);
  };
  return { ranked, tables, offer };
})();
