/* The prevalence of a table of predictive values: its first column shows them at the prevalence of the reader. */
(() => {
  'use strict';
  document.addEventListener('input', event => {
    const changed = event.target;
    if (!changed.matches('[data-prevalence]')) return;
    const part = changed.closest('.predictive'), percent = changed.valueAsNumber; // NaN for a field without a number
    const known = percent >= 0 && percent <= 100, p = known ? percent / 100 : NaN;
    part.querySelector('output').textContent = known ? '' : 'Enter a number from 0 to 100.';
    for (const other of part.querySelectorAll('[data-prevalence]')) if (other !== changed && known) other.value = percent;
    for (const row of part.querySelectorAll('[data-se]')) {
      const se = +row.dataset.se, sp = +row.dataset.sp, found = se * p, cleared = sp * (1 - p);
      const ppv = found / (found + (1 - sp) * (1 - p)), npv = cleared / (cleared + (1 - se) * p);
      row.querySelector('[data-chosen]').replaceChildren(`PPV ${places(ppv)}`, document.createElement('br'), `NPV ${places(npv)}`);
    }
  });
})();
