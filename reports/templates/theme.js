/* On every page: marks that scripts run, and handles the button for the theme. */
(() => {
  'use strict';
  const root = document.documentElement, button = document.getElementById('theme'), themes = ['auto', 'light', 'dark'];
  root.classList.add('js');
  button.addEventListener('click', () => {
    const next = themes[(themes.indexOf(root.dataset.theme || 'auto') + 1) % 3];
    if (next === 'auto') delete root.dataset.theme; else root.dataset.theme = next;
    button.textContent = 'Theme: ' + next;
  });
})();
