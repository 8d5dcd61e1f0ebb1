/* The slider of a table of predictive values: the column "chosen" shows them at the prevalence of the reader. */
(() => {
  'use strict';
  const places = v => Number.isFinite(v) ? v.toFixed(3).replace(/^0/, '') : '\u2013';
  document.addEventListener('input', event => {
    const slider = event.target;
    if (!slider.matches('[data-prevalence]')) return;
    const part = slider.closest('.predictive'), p = slider.value / 100; // the slider goes from 0 to 100 only
    part.querySelector('output').textContent = `${slider.value} %`;
    for (const row of part.querySelectorAll('[data-se]')) {
      const se = +row.dataset.se, sp = +row.dataset.sp, found = se * p, cleared = sp * (1 - p);
      const ppv = found / (found + (1 - sp) * (1 - p)), npv = cleared / (cleared + (1 - se) * p);
      row.querySelector('[data-chosen]').replaceChildren(`PPV ${places(ppv)}`, document.createElement('br'), `NPV ${places(npv)}`);
    }
  });
})();
