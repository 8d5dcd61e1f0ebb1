/* "A hospital like mine": ranks the recipes by their mean at the ticked hospitals, with predictive values at a typed prevalence. */
const mine = (() => {
  'use strict';
  const $ = id => document.getElementById(id), panel = $('mine'), SHOWN = 10;
  if (!panel) return { read() {}, write() {} };
  const boxes = [...panel.querySelectorAll('input[type=checkbox]')], finding = $('mine-finding'), prevalence = $('mine-prevalence');
  const state = () => [boxes.filter(box => box.checked).map(box => box.value).join(','), finding.value, prevalence.value].join(':'), first = state();
  const mean = values => values.length ? values.reduce((sum, v) => sum + v, 0) / values.length : NaN;
  let recipes = null;
  const cell = (...parts) => { const td = document.createElement('td'); td.append(...parts); return td; };
  const below = text => Object.assign(document.createElement('span'), { className: 's', textContent: text });
  const line = (r, i) => {
    const row = document.createElement('tr'), head = document.createElement('th'), link = document.createElement('a');
    head.scope = 'row'; head.append(`${i + 1}. `, link);
    Object.assign(link, { textContent: r.name, href: '#' + r.run }).dataset.run = r.run;
    const range = r.auroc.length > 1 ? `${places(Math.min(...r.auroc))}\u2013${places(Math.max(...r.auroc))}` : '';
    row.append(head, cell(places(mean(r.auroc)), below(range)), ...$('mine-next') ? [cell(r.next[0], below(r.next[1]))] : [], ...[r.se, r.sp, r.ppv, r.npv].map(v => cell(places(v))));
    return row;
  };
  const show = async () => {
    recipes ??= JSON.parse(await unpacked('mine-values')).recipes;
    const f = finding.selectedIndex, p = prevalence.valueAsNumber / 100, known = table => ticked.every(h => table[f][h] !== null);
    const ticked = boxes.flatMap((box, h) => box.checked && recipes.some(r => r.auroc[f][h] !== null) ? [h] : []);
    const at = (table, use = v => v / 1000) => known(table) ? ticked.map(h => use(table[f][h])) : [];
    const rows = recipes.filter(r => ticked.length && known(r.auroc)).map(r => {
      const se = mean(at(r.sensitivity)), sp = mean(at(r.specificity)), ok = p >= 0 && p <= 1;
      return { ...r, auroc: at(r.auroc, v => v / 1e6), next: r.next[f], se, sp,
        ppv: ok ? se * p / (se * p + (1 - sp) * (1 - p)) : NaN, npv: ok ? sp * (1 - p) / (sp * (1 - p) + (1 - se) * p) : NaN };
    }).sort((a, b) => mean(b.auroc) - mean(a.auroc));
    $('mine-rows').replaceChildren(...rows.slice(0, SHOWN).map(line));
    $('mine-used').textContent = !ticked.length ? 'No ticked hospital scores this finding.' : `${ticked.length} of ${boxes.filter(box => box.checked).length} ticked hospitals score this finding; ${Math.min(SHOWN, rows.length)} of ${recipes.length} ${ranking.unit}s shown.`;
  };
  panel.addEventListener('input', () => show().then(view.keep));
  panel.addEventListener('toggle', () => { if (panel.open) show(); view.keep(); });
  const write = into => { if (panel.open || state() !== first) into.set('like', state()); };
  const read = from => {
    const [hospitals, name, percent] = (from.get('like') ?? first).split(':'), asked = new Set(hospitals.split(','));
    for (const box of boxes) box.checked = asked.has(box.value);
    finding.selectedIndex = Math.max(0, [...finding.options].findIndex(option => option.value === name));
    prevalence.value = percent || 10;
    panel.open = from.has('like');
    if (panel.open) show();
  };
  return { read, write };
})();
