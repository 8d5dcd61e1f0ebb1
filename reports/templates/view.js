/* The view: one listener per kind of event, and the address of the page, which stores the view. Unknown values are ignored. */
const view = (() => {
  'use strict';
  const $ = id => document.getElementById(id);
  const sections = new Set([...document.querySelectorAll('main :is(section, .group)[id]')].map(s => s.id));
  let at = '', reading = false;

  const keep = () => {
    if (reading) return;
    const state = new URLSearchParams();
    ranking.write(state);
    pins.write(state);
    mine.write(state);
    if (drawer.current()) state.set('run', drawer.current()); else if (at) state.set('at', at);
    const text = String(state).replaceAll('%2C', ',');
    history.replaceState(history.state, '', text ? '#' + text : location.pathname + location.search);
  };
  const open = id => { // one entry of the history for the drawer, also if a link in it opens another run
    if (!drawer.dialog.open && $(id)?.matches('details.run')) history.pushState({ drawer: true }, '', location.href);
    return drawer.show(id).then(keep);
  };
  const closed = () => { if (history.state?.drawer) history.back(); else keep(); };
  const go = id => { at = id; ranking.finish(); $(id).scrollIntoView(); }; // rows inserted later would move the target down
  const read = () => {
    let text = location.hash.slice(1);
    try { text = text.includes('=') ? text : decodeURIComponent(text); } catch { text = ''; } // not a valid escape
    if (!text.includes('=')) { // an anchor without a view
      if (sections.has(text)) ranking.finish();
      if (sections.has(text) || text === 'top') at = text === 'top' ? '' : text;
      if (text.startsWith('run-')) drawer.show(text).then(keep); else if (text) keep();
      return;
    }
    const state = new URLSearchParams(text);
    reading = true;
    ranking.read(state);
    pins.read(state);
    mine.read(state);
    ranking.order();
    reading = false;
    if (sections.has(state.get('at')) && state.get('at') !== at) go(state.get('at'));
    if (/^[0-9a-f]+(-seeds)?$/.test(state.get('run') || '')) drawer.show('run-' + state.get('run'));
  };

  const menusOpen = () => document.querySelectorAll('.menu[open]');
  document.addEventListener('click', event => {
    const hit = name => event.target.closest(`[data-${name}]`)?.dataset[name];
    for (const menu of menusOpen()) if (!menu.contains(event.target)) menu.open = false;
    const anchor = event.target.closest('a[href^="#"]:not([data-run])');
    if (anchor) { ranking.finish(); anchor.closest('.menu')?.removeAttribute('open'); }
    if (anchor && drawer.dialog.contains(anchor)) drawer.leave(); // Back returns to the drawer
    if (hit('sort')) { ranking.sortBy(hit('sort')); keep(); }
    else if (hit('pin')) {
      const id = hit('pin'), inTray = event.target.closest('#tray');
      copying.say(pins.toggle(id));
      keep();
      if (inTray) ($('traynames').querySelector('button') || ranking.table.querySelector(`[data-pin="${id}"]`) || $('q')).focus();
    }
    else if (event.target.closest('a[data-run], .mk[data-run]')) { event.preventDefault(); open(hit('run')); } // gallery pictures have data-run, too
    else if (hit('copy')) { copying.ranked(hit('copy'), event.target.textContent); for (const menu of menusOpen()) { menu.open = false; menu.querySelector('summary').focus(); } }
    else if (hit('save')) { downloads.ranked(hit('save')); for (const menu of menusOpen()) { menu.open = false; menu.querySelector('summary').focus(); } }
    else if (event.target.closest('[data-tables]')) downloads.tables(event.target.closest('details'));
    else if (hit('copycmd')) copying.copy($(hit('copycmd')).textContent, event.target.textContent.replace('Copy ', '').replace(/^c/, 'C') + ' copied');
    else if (event.target.closest('[data-link]')) copying.copy(drawer.link(), 'Link copied');
    else if (event.target.closest('[data-fold]')) ranking.fold(event.target.closest('[data-fold]'));
    else if (event.target.closest('[data-close]') || event.target === drawer.dialog) drawer.dialog.close();
    else if (event.target.id === 'gocmp') { go('compare'); $('h-compare').focus({ preventScroll: true }); keep(); }
    else if (event.target.id === 'clear') { pins.clear(); keep(); (ranking.table.querySelector('.pin') || $('q')).focus(); }
    else if (event.target.id === 'reset' || event.target.id === 'none-clear') { ranking.clear(); keep(); $('q').focus(); }
    else if (hit('heat')) {
      $('heat').classList.toggle('gap', hit('heat') === 'gap');
      for (const b of document.querySelectorAll('[data-heat]')) b.setAttribute('aria-pressed', String(b.dataset.heat === hit('heat')));
    }
  });
  document.addEventListener('input', event => {
    const menu = event.target.closest('.menu');
    if (event.target.id === 'q' || menu?.dataset.factor) ranking.show();
    else if (menu) ranking.columns();
    else return;
    keep();
  });
  document.addEventListener('keydown', event => {
    const menu = event.key === 'Escape' && event.target.closest('.menu[open]');
    if (menu) { menu.open = false; menu.querySelector('summary').focus(); }
  });
  if ($('sortsel')) $('sortsel').addEventListener('change', keep);
  if ($('by')) $('by').addEventListener('change', event => ranking.rankBy(event.target.value).then(keep));
  addEventListener('hashchange', read);
  addEventListener('popstate', () => { if (drawer.dialog.open && !history.state?.drawer) drawer.dialog.close(); });
  if (matchMedia('(max-width: 760px)').matches && $('tools')) $('tools').open = false;
  const scrolls = new ResizeObserver(entries => { // elements that scroll horizontally can be focused with the keyboard
    for (const { target } of entries) if (target.scrollWidth > target.clientWidth || target.scrollHeight > target.clientHeight) target.tabIndex = 0;
  });
  const watch = within => { for (const box of within.querySelectorAll('.scroll:not([tabindex])')) scrolls.observe(box); };
  watch(document);
  document.addEventListener('toggle', ({ target }) => { // long tables are parsed when they are opened; until then they are text in <noscript>
    if (!target.open) return;
    for (const text of target.querySelectorAll('noscript')) if (!text.closest('details:not([open])')) text.outerHTML = text.textContent; // safe: escaped when the page was written
    for (const block of [target, ...target.querySelectorAll('details.data[open]')]) downloads.offer(block);
    watch(target);
  }, true);
  return { keep, read, open, closed };
})();
if (ranking.rows.length && !location.hash.includes('=')) ranking.order();
if (['reload', 'back_forward'].includes(performance.getEntriesByType('navigation')[0]?.type)) ranking.finish(); // all rows must exist before the browser restores the scroll position
view.read();
