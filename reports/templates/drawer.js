/* A run opens in a drawer: the content of its entry moves there and back. On pages with many runs, the content is unpacked first,
   and dropped when the run is closed.
   A click that opens the drawer adds an entry to the browser's history (view.js), so Back closes the drawer. */
const drawer = (() => {
  'use strict';
  const $ = id => document.getElementById(id), dialog = $('drawer');
  let opened = null, details = null;
  const dropped = new WeakSet(); // entries whose content is unpacked each time

  const pieces = () => (details ??= isRead.then(() => $('details') ? unpacked('details').then(JSON.parse) : {}));
  const html = async id => { // safe: escaped when the page was written
    const holder = document.createElement('template');
    holder.innerHTML = Object.hasOwn(await pieces(), id) ? (await pieces())[id] : '';
    return holder.content;
  };
  const body = async entry => {
    const found = entry.querySelector('.rd') || (dropped.add(entry), (await html(entry.id)).firstElementChild), figures = found.querySelector('[data-figures]'), list = found.querySelector('[data-pictures]');
    if (list && !list.childElementCount) {
      const mine = [...document.querySelectorAll('#gallery .cases li')].filter(c => c.dataset.of === list.dataset.pictures).slice(0, +list.dataset.most);
      list.append(...mine.map(c => { const copy = c.cloneNode(true); copy.hidden = false; return copy; }));
    }
    if (figures && !figures.childElementCount) figures.append(await html(entry.id + '/figures'));
    for (const table of found.querySelectorAll('.cells')) { // on a phone, each number stands below the name of its column
      table.classList.add('stack');
      for (const row of table.tBodies[0].rows) for (const cell of row.querySelectorAll('td')) cell.dataset.l = table.tHead.rows[0].cells[cell.cellIndex].firstChild.textContent;
    }
    return found;
  };
  const put = () => {
    if (opened?.body && (opened.entry.open || !dropped.has(opened.entry))) opened.entry.append(opened.body);
    $('drawer-body').replaceChildren();
    opened = null;
  };
  const show = async id => {
    const entry = id.startsWith('run-') ? $(id) : null;
    if (!entry || !entry.matches('details.run')) return false;
    put();
    const summary = entry.querySelector('summary'), mine = opened = { entry, body: null };
    $('drawer-name').textContent = [...summary.querySelectorAll('.rn, .f')].map(e => e.textContent).join(' · ');
    $('drawer-body').replaceChildren('…');
    if (!dialog.open) dialog.showModal();
    try {
      const found = await body(entry);
      if (opened !== mine) return true;
      opened.body = found;
      $('drawer-body').replaceChildren(found);
    } catch { $('drawer-body').textContent = 'This browser cannot show the details of this run.'; }
    dialog.scrollTop = 0;
    return true;
  };
  const unfold = async entry => {
    if (entry.open && opened?.entry !== entry) entry.append(await body(entry));
    else if (!entry.open && dropped.has(entry)) entry.querySelector('.rd')?.remove();
  };
  let leaving = false;
  const leave = () => { leaving = true; dialog.close(); };
  dialog.addEventListener('close', () => { put(); if (leaving) leaving = false; else view.closed(); });
  for (const entry of document.querySelectorAll('details.run')) entry.addEventListener('toggle', () => unfold(entry));
  const link = () => location.href.split('#')[0] + '#' + opened.entry.id;
  return { dialog, show, leave, link, current: () => dialog.open && opened ? opened.entry.id.slice(4) : '' };
})();
