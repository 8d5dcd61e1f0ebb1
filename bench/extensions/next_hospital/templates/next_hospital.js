(() => {
  'use strict';
  const typed = document.getElementById('below-threshold');
  if (!typed) return;
  const result = document.getElementById('below-probability'), choice = document.getElementById('below-run');
  const recipes = JSON.parse(document.getElementById('below').textContent); // per recipe: probabilities at .01, .02 to .99
  const show = () => {
    const x = typed.valueAsNumber, p = recipes[choice ? choice.value : 0];
    if (!(x >= 0.01 && x <= 0.99)) { result.textContent = 'type a number from .01 to .99'; return; }
    const at = Math.min(Math.floor(x * 100 - 1 + 1e-9), p.length - 2), share = x * 100 - 1 - at;
    const value = p[at] + share * (p[at + 1] - p[at]);
    result.textContent = value < 0.01 ? '< .01' : value > 0.99 ? '> .99' : value.toFixed(2).slice(1);
  };
  typed.addEventListener('input', show);
  if (choice) choice.addEventListener('change', show);
  show();
})();
