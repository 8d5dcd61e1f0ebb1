/* "A hospital like mine": ranks the recipes by their mean at the ticked hospitals, with predictive values at a typed prevalence. */
const mine = (() => {
  'use strict';
  const $ = id => document.getElementById(id), panel = $('mine'), SHOWN = 10;
  if (!panel) return { read() {}, write() {} };
  // 97.5 % quantiles of Student's t for 2, 3 ... degrees of freedom
  const T = [4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.16, 2.145, 2.131, 2.12, 2.11, 2.101, 2.093, 2.086];
  const boxes = [...panel.querySelectorAll('input[type=checkbox]')], finding = $('mine-finding'), prevalence = $('mine-prevalence');
  const state = () => [boxes.filter(box => box.checked).map(box => box.value).join(','), finding.value, prevalence.value].join(':'), first = state();
  const mean = values => values.length ? values.reduce((sum, v) => sum + v, 0) / values.length : NaN;
  const share = logit => 1 / (1 + Math.exp(-logit));
  const expected = values => { // mean and prediction interval of AUROCs
    const logits = values.map(v => Math.log(v / (1 - v))), m = mean(logits), n = logits.length;
    const sd = Math.sqrt(logits.reduce((sum, v) => sum + (v - m) ** 2, 0) / (n - 1)), half = n > 2 ? T[Math.min(n - 3, T.length - 1)] * sd * Math.sqrt(1 + 1 / n) : NaN;
    return [m, m - half, m + half].map(share);
  };
  let recipes = null;
  const cell = (...parts) => { const td = document.createElement('td'); td.append(...parts); return td; };
  const line = (r, i) => {
    const row = document.createElement('tr'), head = document.createElement('th'), link = document.createElement('a'), range = document.createElement('span');
    head.scope = 'row'; head.append(`${i + 1}. `, link);
    Object.assign(link, { textContent: r.name, href: '#' + r.run }).dataset.run = r.run;
    range.className = 's'; range.textContent = bracketed(r.auroc[1], r.auroc[2]);
    row.append(head, cell(places(r.auroc[0]), range), ...[r.se, r.sp, r.ppv, r.npv].map(v => cell(places(v))));
    return row;
  };
  const show = async () => {
    recipes ??= JSON.parse(await unpacked('mine-values')).recipes;
    const f = finding.selectedIndex, p = prevalence.valueAsNumber / 100, known = table => ticked.every(h => table[f][h] !== null);
    const ticked = boxes.flatMap((box, h) => box.checked && recipes.some(r => r.auroc[f][h] !== null) ? [h] : []);
    const at = (table, use = v => v / 1000) => known(table) ? ticked.map(h => use(table[f][h])) : [];
    const rows = recipes.filter(r => ticked.length && known(r.auroc)).map(r => {
      const se = mean(at(r.sensitivity)), sp = mean(at(r.specificity)), ok = p >= 0 && p <= 1;
      return { ...r, auroc: expected(at(r.auroc, v => Math.min(Math.max(v, 0.5), 999.5) / 1000)), se, sp,
        ppv: ok ? se * p / (se * p + (1 - sp) * (1 - p)) : NaN, npv: ok ? sp * (1 - p) / (sp * (1 - p) + (1 - se) * p) : NaN };
    }).sort((a, b) => b.auroc[0] - a.auroc[0]);
    $('mine-rows').replaceChildren(...rows.slice(0, SHOWN).map(line));
    $('mine-used').textContent = !ticked.length ? 'Tick a hospital that scores this finding.' : `${ticked.length} of ${boxes.filter(box => box.checked).length} ticked hospitals score this finding; ${Math.min(SHOWN, rows.length)} of ${recipes.length} ${ranking.unit}s shown.`;
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
