(() => {
  'use strict';
  const list = document.getElementById('cases');
  if (!list) return;
  const picks = [...document.querySelectorAll('[data-pick]')], cases = [...list.children], most = matchMedia('(max-width: 760px)').matches ? 6 : 24;
  const more = document.createElement('button');
  more.type = 'button';
  more.className = 'show-more';
  list.after(more);
  let shown = most;
  const show = () => {
    const fits = cases.filter(c => picks.every(p => !p.value || c.dataset[p.dataset.pick] === p.value));
    const first = new Set(fits.slice(0, shown));
    for (const c of cases) c.hidden = !first.has(c);
    document.getElementById('gcount').textContent = `${first.size} of ${fits.length} pictures`;
    more.hidden = first.size === fits.length;
    more.textContent = `Show ${Math.min(most, fits.length - first.size)} more`;
  };
  for (const p of picks) p.addEventListener('change', () => { shown = most; show(); });
  more.addEventListener('click', () => { shown += most; show(); });
  addEventListener('beforeprint', () => { for (const c of cases) c.hidden = false; });
  show();
})();
