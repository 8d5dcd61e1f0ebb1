/* Charts: plotly is unpacked when the first chart comes near, each chart is drawn when seen and again on a new width or theme. */
const charts = (() => {
  'use strict';
  const specs = new Map(JSON.parse(document.getElementById('charts').textContent).map(c => [c.id, c]));
  const drawn = new Map(); // id -> width it was drawn at
  let library = null;

  const unpack = async () => {
    const packed = Uint8Array.from(atob(document.getElementById('plotly').textContent), c => c.charCodeAt(0));
    const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream('gzip'));
    const code = document.createElement('script');
    code.textContent = await new Response(stream).text(); // allowed by its hash in the page's policy
    document.head.append(code);
    if (!window.Plotly) throw new Error('no Plotly');
    return window.Plotly;
  };
  const plotly = () => (library ??= unpack());

  const themed = value => { // "var(--ink)" -> the theme's colour
    if (Array.isArray(value)) return value.map(themed);
    if (value && typeof value === 'object') return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, themed(v)]));
    const name = typeof value === 'string' && /^var\((--[\w-]+)\)$/.exec(value);
    return name ? getComputedStyle(document.documentElement).getPropertyValue(name[1]).trim() : value;
  };

  const layout = (spec, width) => {
    const small = width < 480;
    const line = { showline: true, linecolor: 'var(--rule2)', tickcolor: 'var(--rule2)', ticks: 'outside', ticklen: 4, fixedrange: true,
      tickfont: { size: 12, color: 'var(--ink3)' }, gridcolor: 'var(--rule)' };
    const shown = structuredClone(spec.layout);
    const title = { ...shown.xaxis.title, font: { size: 12, color: 'var(--ink2)' }, standoff: 10 };
    if (small && shown.xaxis.tickvals && shown.xaxis.tickvals.length > 4) {
      shown.xaxis.ticktext = shown.xaxis.ticktext.filter((_, i) => i % 2 === 0);
      shown.xaxis.tickvals = shown.xaxis.tickvals.filter((_, i) => i % 2 === 0);
    }
    if (small && shown.annotations) {
      const [low, high] = shown.xaxis.range, room = width - 58;
      const fits = a => { const at = (a.x - low) / (high - low) * room, long = 6.8 * a.text.length; return a.xanchor === 'right' ? at > long : at + long < room; };
      shown.annotations = shown.annotations.filter(fits).slice(0, 3);
    }
    return themed({ ...shown, width, height: small ? spec.narrow : spec.height, showlegend: false, hovermode: 'closest', dragmode: false,
      margin: { l: 44, r: 14, t: 8, b: 48 }, paper_bgcolor: 'rgba(0,0,0,0)', plot_bgcolor: 'rgba(0,0,0,0)',
      font: { family: getComputedStyle(document.body).fontFamily, size: 12, color: 'var(--ink2)' },
      hoverlabel: { bgcolor: 'var(--ink)', bordercolor: 'var(--ink)', align: 'left', namelength: 0, font: { color: 'var(--paper)', size: 13 } },
      xaxis: { ...line, showgrid: false, ...shown.xaxis, title }, yaxis: { ...line, showline: false, ticks: '', ...shown.yaxis, title: { text: '' } } });
  };

  const draw = async box => {
    const spec = specs.get(box.id), width = Math.floor(box.clientWidth);
    if (!spec || width < 40 || drawn.get(box.id) === width) return;
    const first = !box.classList.contains('js-plotly-plot');
    drawn.set(box.id, width);
    try {
      const Plotly = await plotly();
      if (first) box.replaceChildren();
      await Plotly.react(box, themed(structuredClone(spec.data)), layout(spec, width), { displayModeBar: false, scrollZoom: false });
      if (first) box.on('plotly_click', event => { const id = event.points[0].customdata; if (id) location.hash = id; });
    } catch (error) {
      drawn.delete(box.id);
      const note = document.createElement('p');
      note.className = 'wait';
      note.textContent = 'This chart could not be drawn by this browser; its numbers are below.';
      box.replaceChildren(note);
    }
  };
  const boxes = [...document.querySelectorAll('.plot')];
  const all = () => Promise.all(boxes.map(draw));
  const again = () => { const seen = boxes.filter(b => drawn.has(b.id)); drawn.clear(); seen.forEach(draw); };
  if ('IntersectionObserver' in window) {
    const near = new IntersectionObserver(entries => entries.forEach(e => { if (e.isIntersecting) { near.unobserve(e.target); draw(e.target); } }), { rootMargin: '400px' });
    boxes.forEach(box => near.observe(box));
  } else all();
  let timer = 0;
  addEventListener('resize', () => { clearTimeout(timer); timer = setTimeout(() => boxes.filter(b => drawn.has(b.id)).forEach(draw), 150); });
  addEventListener('beforeprint', all);
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', again);
  document.addEventListener('theme', again);
  return { all };
})();
