/* Every page: says that scripts run, and the button that changes the theme; charts hear of it by the event `theme`. */
(() => {
  'use strict';
  const root = document.documentElement, button = document.getElementById('theme'), themes = ['auto', 'light', 'dark'];
  root.classList.add('js');
  button.addEventListener('click', () => {
    const next = themes[(themes.indexOf(root.dataset.theme || 'auto') + 1) % 3];
    if (next === 'auto') delete root.dataset.theme; else root.dataset.theme = next;
    button.textContent = 'Theme: ' + next;
    document.dispatchEvent(new Event('theme'));
  });
})();
