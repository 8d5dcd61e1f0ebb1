(() => {
  'use strict';
  const choice = document.getElementById('calibration-run');
  if (!choice) return;
  const panels = document.getElementById('calibration-panels'), others = document.getElementById('calibration-others');
  const title = document.getElementById('calibration-title'), shown = document.getElementById('calibration-shown');
  const first = { run: panels.dataset.run, html: panels.innerHTML, title: title.innerHTML, shown: shown.textContent };
  choice.addEventListener('change', () => { // the figure, its title and its label show the chosen run
    for (const text of others.querySelectorAll('noscript')) text.outerHTML = text.textContent; // safe: escaped when the page was written
    const entry = others.querySelector(`[data-run="${choice.value}"]`);
    const run = entry ? { html: entry.innerHTML, title: entry.previousElementSibling.innerHTML, ...entry.dataset } : first;
    panels.innerHTML = run.html; // safe: this markup is already in the page, like the title's
    panels.dataset.run = run.run;
    title.innerHTML = run.title;
    shown.textContent = run.shown;
  });
})();
