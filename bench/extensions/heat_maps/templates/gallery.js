(() => {
  'use strict';
  const list = document.getElementById('cases'), folded = document.getElementById('more-cases');
  if (!list) return;
  const FIRST = 8, rest = folded ? folded.querySelector('ul') : list;
  const picks = [...document.querySelectorAll('[data-pick]')], cases = [...document.querySelectorAll('#gallery .cases li')];
  const show = () => { // the first matching pictures are shown, further ones are folded
    const fits = new Set(cases.filter(c => picks.every(p => !p.value || c.dataset[p.dataset.pick] === p.value)));
    const [first, more] = [[...fits].slice(0, FIRST), [...fits].slice(FIRST)];
    for (const c of cases) c.hidden = !fits.has(c);
    rest.append(...more, ...cases.filter(c => !fits.has(c)));
    list.prepend(...first);
    if (folded) {
      folded.hidden = !more.length;
      folded.querySelector('summary').textContent = more.length === 1 ? '1 more picture' : `${more.length} more pictures`;
    }
    document.getElementById('gcount').textContent = fits.size === 1 ? '1 picture' : `${fits.size} pictures`;
  };
  for (const p of picks) p.addEventListener('change', show);
  const whole = document.getElementById('whole');
  whole.addEventListener('change', () => document.getElementById('gallery').classList.toggle('whole', whole.checked));
  show();
})();
