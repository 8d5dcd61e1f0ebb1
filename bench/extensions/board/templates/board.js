/* On the board: shows only the rows with the chosen status. Groups and ranks stay, because they were computed over all ranked rows. */
(() => {
  'use strict';
  const select = document.getElementById('status'), count = document.getElementById('count');
  if (!select) return;
  const show = () => {
    const rows = [...document.querySelectorAll('tr[data-status]')];
    const kept = rows.filter(row => !select.value || select.value.split('|').includes(row.dataset.status));
    for (const row of rows) row.hidden = !kept.includes(row);
    for (const body of document.querySelectorAll('tbody[data-group]')) body.hidden = ![...body.rows].some(row => row.dataset.status && !row.hidden);
    count.textContent = kept.length === rows.length ? '' : kept.length + ' of ' + rows.length + ' rows. Groups were computed over all ranked rows and have not changed.';
  };
  select.addEventListener('change', show);
})();
