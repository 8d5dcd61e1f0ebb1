/* Charts: plotly and the chart data are unpacked when the first chart is nearly visible. A chart is drawn when it becomes visible, and again
   after a change of width or theme. With the keyboard, Tab reaches a chart, arrows move between its points, and Enter opens the run. */
const charts = (() => {
  'use strict';
  let specs = null, text = null; // promises: chart data by id, and the source of plotly
  const drawn = new Map(), drawing = new Map(); // by id: width at the last drawing, and its promise
  let library = null, letters = new Map(); // letters of pinned runs, by anchor of the run

  const source = () => (text ??= unpacked('plotly'));
  const unpack = async () => {
    const code = document.createElement('script');
    code.textContent = await source(); // the content security policy has its hash
    document.head.append(code);
    if (!window.Plotly) throw new Error('no Plotly');
    return window.Plotly;
  };
  const plotly = () => (library ??= unpack());
  const every = () => (specs ??= unpacked('charts').then(text => new Map(JSON.parse(text).map(c => [c.id, c]))));

  const themed = value => { // "var(--ink)" -> color of the theme
    if (Array.isArray(value)) return value.map(themed);
    if (value && typeof value === 'object') return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, themed(v)]));
    const name = typeof value === 'string' && /^var\((--[\w-]+)\)$/.exec(value);
    return name ? getComputedStyle(document.documentElement).getPropertyValue(name[1]).trim() : value;
  };

  const lettered = spec => spec.data.flatMap(trace => (Array.isArray(trace.customdata) ? trace.customdata : []).flatMap((run, i) => letters.has(run) ? [{
    x: spec.layout.xaxis.type === 'log' ? Math.log10(trace.x[i]) : trace.x[i], y: trace.y[i], text: letters.get(run), showarrow: false, yshift: 14,
    font: { size: 12, color: 'var(--paper)' }, bgcolor: 'var(--ink)', borderpad: 2 }] : []));

  const SIDES = [['left', 1], ['right', 1], ['left', -1], ['right', -1]]; // anchor of the text, and whether the text is above (1) or below (-1) its mark
  const placed = (spec, { annotations = [], xaxis, yaxis }, room, tall) => { // the label of a run gets a side that is free; else one where it hides lines only; else there is no label
    const across = x => (x - xaxis.range[0]) / (xaxis.range[1] - xaxis.range[0]) * room, up = y => (y - yaxis.range[0]) / (yaxis.range[1] - yaxis.range[0]) * tall;
    const at = (x, y) => [across(xaxis.type === 'log' ? Math.log10(x) : x), up(y)];
    const marks = spec.data.flatMap(t => Array.isArray(t.customdata) ? t.x.map((x, i) => at(x, t.y[i])) : []);
    const lines = yaxis.zeroline ? [[[0, up(0)], [room, up(0)]]] : [];
    for (const { x, y, mode, line, error_x: wide, error_y: high } of spec.data) {
      if (mode === 'lines') x.slice(1).forEach((next, i) => lines.push(...(line.shape === 'hv' ? [[at(x[i], y[i]), at(next, y[i])], [at(next, y[i]), at(next, y[i + 1])]] : [[at(x[i], y[i]), at(next, y[i + 1])]])));
      if (high) x.forEach((v, i) => lines.push([at(v, y[i] - high.arrayminus[i]), at(v, y[i] + high.array[i])]));
      if (wide) x.forEach((v, i) => lines.push([at(v - wide.arrayminus[i], y[i]), at(v + wide.array[i], y[i])]));
    }
    const crosses = ([left, right, low, high], [[x1, y1], [x2, y2]]) => { // points on the line, at most 4 px apart
      const steps = Math.ceil(Math.hypot(x2 - x1, y2 - y1) / 4) || 1;
      return Array.from({ length: steps + 1 }, (_, k) => [x1 + (x2 - x1) * k / steps, y1 + (y2 - y1) * k / steps]).some(([x, y]) => left < x && x < right && low < y && y < high);
    };
    const taken = [];
    const isFree = ([left, right, low, high], own) => left >= 4 && right <= room && low >= 0 && high <= tall
      && marks.every(([x, y]) => Math.hypot(x - own[0], y - own[1]) < 1 || x < left - 8 || right + 8 < x || y < low - 6 || high + 6 < y) && taken.every(t => right < t[0] || t[1] < left || high < t[2] || t[3] < low);
    const put = (note, [anchor, side], without) => {
      const long = 6.9 * note.text.length, x = across(note.x) + (anchor === 'left' ? 6 : -6 - long), y = up(note.y) + (side > 0 ? 4 : -20), box = [x, x + long, y, y + 16];
      if (!isFree(box, [across(note.x), up(note.y)]) || without.some(line => crosses(box, line))) return null;
      taken.push(box);
      return { ...note, xanchor: anchor, yanchor: side > 0 ? 'bottom' : 'top', xshift: anchor === 'left' ? 6 : -6, yshift: 4 * side };
    };
    const first = (note, without) => SIDES.reduce((found, side) => found || put(note, side, without), null);
    const fixed = annotations.filter(note => note.xanchor).map(note => put(note, [note.xanchor, 1], [])); // labels of lines keep their side
    const runs = annotations.filter(note => !note.xanchor).map(note => first(note, lines) || first({ ...note, bgcolor: 'var(--paper)' }, []));
    return [...fixed, ...runs].filter(Boolean);
  };

  const layout = (spec, width, room) => { // room: height that the table beside the chart leaves free
    const small = width < 480, least = small ? spec.narrow : spec.height, height = Math.max(least, Math.min(room, 1.6 * least));
    const line = { showline: true, linecolor: 'var(--rule2)', tickcolor: 'var(--rule2)', ticks: 'outside', ticklen: 4, fixedrange: true,
      tickfont: { size: 12, color: 'var(--ink3)' }, gridcolor: 'var(--rule)' };
    const shown = structuredClone(spec.layout);
    const title = { ...shown.xaxis.title, font: { size: 12, color: 'var(--ink2)' }, standoff: 10 };
    if (small && shown.xaxis.tickvals && shown.xaxis.tickvals.length > 4) {
      shown.xaxis.ticktext = shown.xaxis.ticktext.filter((_, i) => i % 2 === 0);
      shown.xaxis.tickvals = shown.xaxis.tickvals.filter((_, i) => i % 2 === 0);
    }
    shown.annotations = placed(spec, shown, width - 58, height - 56);
    shown.annotations.push(...lettered(spec));
    return themed({ ...shown, width, height, showlegend: false, hovermode: 'closest', dragmode: false,
      margin: { l: 44, r: 14, t: 8, b: 48 }, paper_bgcolor: 'rgba(0,0,0,0)', plot_bgcolor: 'rgba(0,0,0,0)',
      font: { family: getComputedStyle(document.body).fontFamily, size: 12, color: 'var(--ink2)' },
      hoverlabel: { bgcolor: 'var(--ink)', bordercolor: 'var(--ink)', align: 'left', namelength: 0, font: { color: 'var(--paper)', size: 13 } },
      xaxis: { ...line, showgrid: false, ...shown.xaxis, title }, yaxis: { ...line, showline: false, ticks: '', ...shown.yaxis, title: { text: '' } } });
  };

  const stops = spec => spec.data.flatMap((trace, curve) => trace.hoverinfo === 'text' ? trace.x.map((x, point) =>
    ({ curve, point, x, y: trace.y[point], text: trace.hovertext[point], run: trace.customdata?.[point] })) : []).sort((a, b) => a.x - b.x || a.y - b.y);
  const spoken = text => { const holder = document.createElement('template'); holder.innerHTML = text.replaceAll('<br>', ', '); return holder.content.textContent; };
  const step = async event => {
    const box = event.currentTarget, forward = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    const ends = { Home: 0, End: -1 };
    if (!forward && !(event.key in ends) && event.key !== 'Enter') return;
    event.preventDefault();
    const points = stops(chosen((await every()).get(box.id))), now = box.dataset.stop === undefined ? undefined : +box.dataset.stop;
    if (event.key === 'Enter') { if (points[now]?.run) location.hash = points[now].run; return; }
    const next = points.at(event.key in ends ? ends[event.key] : now === undefined ? (forward > 0 ? 0 : -1) : Math.max(0, Math.min(points.length - 1, now + forward)));
    if (!next) return;
    box.dataset.stop = points.indexOf(next);
    window.Plotly.Fx.hover(box, [{ curveNumber: next.curve, pointNumber: next.point }]);
    document.getElementById('spoken').textContent = spoken(next.text);
  };
  const reachable = box => {
    box.tabIndex = 0;
    box.setAttribute('role', 'group');
    box.setAttribute('aria-roledescription', 'chart');
    box.setAttribute('aria-describedby', 'charts-keys');
    box.addEventListener('keydown', step);
    box.addEventListener('blur', () => { delete box.dataset.stop; window.Plotly.Fx.unhover(box); });
  };

  /* The axes of the cost chart are a choice of the reader. Its data have the values of each axis; marks on the Pareto front of the choice are filled. */
  const axisOf = way => document.getElementById('cost-' + way), ways = ['x', 'y'].filter(axisOf);
  const nameOf = (way, axis) => axisOf(way)?.selectedOptions[0].textContent ?? axis.name; // without the escapes that hover texts need
  const withInterval = p => `${places(p.y)} ${bracketed(p.low, p.high)}`.trim();
  const chosen = spec => {
    if (!spec.axes || ways.every(way => !axisOf(way).selectedIndex)) return spec;
    const [x, y] = ['x', 'y'].map(way => spec.axes[way][axisOf(way)?.selectedIndex || 0]);
    const points = new Map(spec.axes.runs.map((run, i) => [run, { run, x: x.values[i], y: y.values[i], low: y.low[i], high: y.high[i] }]).filter(([, p]) => p.x !== null && p.y !== null));
    const all = [...points.values()], isBetter = (p, q) => x.sign * (p.x - q.x) >= 0 && y.sign * (p.y - q.y) >= 0 && (p.x !== q.x || p.y !== q.y);
    const front = all.filter(p => !all.some(q => isBetter(q, p))).sort((p, q) => x.sign * (q.x - p.x) || y.sign * (p.y - q.y)), isFront = new Set(front.map(p => p.run));
    const [left, right] = x.axis.range.map(v => 10 ** v), worst = y.axis.range[y.sign > 0 ? 0 : 1], names = new Map();
    const data = spec.data.map(trace => {
      if (trace.mode === 'lines') return { ...trace, x: [front[0].x, ...front.map(p => p.x), x.sign > 0 ? left : right], y: [worst, ...front.map(p => p.y), front.at(-1).y] };
      if (!trace.customdata) return { ...trace, x: all.map(p => p.x), y: all.map(p => p.y), error_y: { ...trace.error_y, array: all.map(p => (p.high ?? p.y) - p.y), arrayminus: all.map(p => p.y - (p.low ?? p.y)) } };
      trace.customdata.forEach((run, i) => names.set(run, trace.hovertext[i].split('<br>')[0]));
      const shown = trace.customdata.filter(run => points.has(run)).map(run => points.get(run));
      return { ...trace, x: shown.map(p => p.x), y: shown.map(p => p.y), customdata: shown.map(p => p.run),
        marker: { ...trace.marker, color: shown.map(p => isFront.has(p.run) ? trace.marker.line.color : 'var(--paper)') },
        hovertext: shown.map(p => `${names.get(p.run)}<br>${+p.x.toPrecision(2)} ${x.unit}<br>${y.name} ${withInterval(p)}`) };
    });
    const annotations = front.slice().sort((p, q) => y.sign * (q.y - p.y)).slice(0, 6).map(p => ({ x: Math.log10(p.x), y: p.y, text: names.get(p.run), showarrow: false, font: { color: 'var(--ink)', size: 12.5 } }));
    return { ...spec, data, x, y, front: front.length, num: all.length, layout: { ...spec.layout, xaxis: x.axis, yaxis: y.axis, annotations } };
  };
  const firstWords = new Map(['cost-title', 'cost-note'].map(id => [id, document.getElementById(id)?.textContent]));
  const choose = async () => { // the title, the note and the text above the chart follow the choice
    const box = document.getElementById('c-cost'), spec = chosen((await every()).get(box.id)), { x, y, front, num } = spec, [across, upward] = [nameOf('x', x), nameOf('y', y)];
    const title = front ? `${front} of ${num} ${ranking.unit}s ${front === 1 ? 'is' : 'are'} on the Pareto front` : firstWords.get('cost-title');
    document.getElementById('cost-title').textContent = title;
    document.getElementById('cost-note').textContent = front ? `Pareto front of the point estimates: ${across}, ${upward}. Hollow marks are dominated.` : firstWords.get('cost-note');
    box.previousElementSibling.textContent = front ? `\u2191 ${upward}${y.sign < 0 ? ', lower is better' : ''}` : spec.top;
    box.setAttribute('aria-label', title);
    if (drawn.delete(box.id)) draw(box);
  };
  for (const way of ways) axisOf(way).addEventListener('change', () => { choose(); view.keep(); });
  const write = state => { if (ways.some(way => axisOf(way).selectedIndex)) state.set('axes', ways.map(way => axisOf(way).value).join(',')); };
  const read = state => {
    const wanted = (state.get('axes') || '').split(','), before = ways.map(way => axisOf(way).selectedIndex).join();
    for (const way of ways) axisOf(way).selectedIndex = Math.max(0, [...axisOf(way).options].findIndex(o => wanted.includes(o.value)));
    if (ways.map(way => axisOf(way).selectedIndex).join() !== before) choose();
  };

  const ready = () => Promise.all([source(), every()]);
  const draw = box => {
    const width = Math.floor(box.clientWidth);
    if (width >= 40 && drawn.get(box.id) !== width) drawing.set(box.id, put(box, width));
    return drawing.get(box.id);
  };
  const put = async (box, width) => {
    const first = !box.classList.contains('js-plotly-plot');
    drawn.set(box.id, width);
    try {
      const [Plotly, spec] = [await plotly(), chosen((await every()).get(box.id))];
      if (first) box.replaceChildren();
      await Plotly.react(box, themed(structuredClone(spec.data)), layout(spec, width, box.clientHeight), { displayModeBar: false, scrollZoom: false });
      if (first) {
        box.on('plotly_click', event => { const id = event.points[0].customdata; if (id) view.open(id); });
        reachable(box);
      }
    } catch (error) {
      drawn.delete(box.id);
      const note = document.createElement('p');
      note.className = 'wait';
      note.textContent = 'This browser cannot draw the chart; its numbers are below.';
      box.replaceChildren(note);
    }
  };
  const boxes = [...document.querySelectorAll('.plot')];
  for (const box of boxes) box.firstElementChild.textContent = 'Drawing the chart …';
  const all = () => Promise.all(boxes.map(draw));
  const again = () => { const seen = boxes.filter(b => drawn.has(b.id)); drawn.clear(); seen.forEach(draw); };
  if ('IntersectionObserver' in window) {
    const near = new IntersectionObserver(entries => entries.forEach(e => { if (e.isIntersecting) { near.unobserve(e.target); draw(e.target); } }), { rootMargin: '400px' });
    boxes.forEach(box => near.observe(box));
  } else all();
  let timer = 0;
  addEventListener('resize', () => { clearTimeout(timer); timer = setTimeout(() => boxes.filter(b => drawn.has(b.id)).forEach(draw), 150); });
  const missing = () => boxes.filter(box => !box.classList.contains('js-plotly-plot'));
  addEventListener('beforeprint', () => { // the browser does not wait for promises here, so everything is unpacked earlier, in idle time
    for (const box of missing()) box.firstElementChild.textContent = 'This chart was not ready: print again.';
    all();
  });
  addEventListener('keydown', async event => { // Ctrl+P waits for the charts
    if (event.key !== 'p' || !(event.ctrlKey || event.metaKey) || !missing().length) return;
    event.preventDefault();
    await all();
    print();
  });
  const idle = window.requestIdleCallback || (then => setTimeout(then, 1500));
  if (boxes.length) addEventListener('load', () => idle(() => ready().catch(() => {})));
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', again);
  document.addEventListener('theme', again);
  const pinned = found => { letters = found; again(); };
  return { all, pinned, ready, read, write };
})();
