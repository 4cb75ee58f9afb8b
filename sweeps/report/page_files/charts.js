"use strict";
// Charts: a colour an attack, a line style and a marker a defense, everywhere the same.

const { colors: COLORS, dashes: DASHES, markers: MARKERS } = DATA.looks;

const colorOf = (attack) => COLORS[ATTACKS.indexOf(attack) % COLORS.length];
/** Attacks beyond the tenth have the first ten's colours and open markers. */
const opened = (attack) => (ATTACKS.indexOf(attack) >= COLORS.length ? "-open" : "");

function styleOf(attack, number) {
  return {
    line: { color: colorOf(attack), dash: DASHES[number % DASHES.length], width: 2 },
    marker: { color: colorOf(attack), symbol: MARKERS[number % MARKERS.length] + opened(attack), size: 7 },
  };
}

const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

function layout(x, y) {
  const axis = { gridcolor: css("--line"), zeroline: false, linecolor: css("--line"), automargin: true };
  const narrow = window.innerWidth < 600;
  return {
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    font: { color: css("--text"), family: getComputedStyle(document.body).fontFamily, size: narrow ? 12 : 14 },
    margin: { l: narrow ? 44 : 60, r: 12, t: 12, b: 48 },
    xaxis: { ...axis, ...x, nticks: narrow ? 4 : 9, title: { text: x.title, standoff: 8 } },
    yaxis: { ...axis, ...y, title: { text: y.title, standoff: 4 } },
    showlegend: false,
    modebar: { bgcolor: "rgba(0,0,0,0)", color: css("--soft"), activecolor: css("--text") },
    hovermode: "closest",
    hoverlabel: { bgcolor: css("--text"), font: { color: css("--page") }, align: "left" },
  };
}

const CONFIG = { responsive: true, displaylogo: false, modeBarButtons: [["zoom2d", "pan2d", "resetScale2d"]] };

/** Where a logarithmic axis has ticks: at 1, 2 and 5 of each power of ten, or at some powers where it is long. */
function logAxis(values, most) {
  const positive = values.filter((value) => value > 0);
  const [low, high] = [Math.floor(Math.log10(Math.min(...positive))), Math.ceil(Math.log10(Math.max(...positive)))];
  const steps = [[1, 2, 5], [1, 3], [1]].find((digits) => digits.length * (high - low) <= most) ?? [1];
  const every = Math.ceil((high - low) / most);
  const powers = Array.from({ length: high - low + 1 }, (_, i) => low + i).filter((power) => (power - low) % every === 0);
  const tickvals = powers.flatMap((power) => steps.map((digit) => digit * 10 ** power));
  return { type: "log", tickvals, ticktext: tickvals.map((value) => short(value, 1)) };
}

const escaped = (text) => text.replace(/&/g, "&amp;").replace(/</g, "&lt;");

const placeOf = (row) => `${row.attack} · ${row.defense ?? `${row.toll}, strength ${row.strength}`}`;

function hover(row) {
  const lines = told(row).slice(0, AT_ONCE - 1).map(([title, text]) => `${title}: ${text}`);
  return [`<b>${escaped(placeOf(row))}</b>`, ...lines, gaveUp(row)].filter(Boolean).join("<br>");
}

/** All figures of a point that is clicked. */
function tellOnClick(chart, rowsOfTraces) {
  const element = document.getElementById(chart);
  element.removeAllListeners?.("plotly_click");
  element.on("plotly_click", ({ points: [point], event }) => {
    const row = rowsOfTraces.get(point.data.name)?.[point.pointNumber];
    if (row) showTip(placeOf(row), [["seeds", String(row.seeds)], ...told(row)], { left: event.clientX, top: event.clientY, bottom: event.clientY });
  });
}

/** Rows in groups that agree in some columns, in their order. */
function grouped(rows, ...names) {
  const groups = new Map();
  for (const row of rows) {
    const key = JSON.stringify(names.map((name) => row[name]));
    if (!groups.has(key)) groups.set(key, []);
    groups.get(key).push(row);
  }
  return [...groups.values()];
}

/** The band of a line's intervals, where it has any. */
function band(rows, x, y) {
  const known = rows.filter((row) => isNumber(row[`${y}_interval`]));
  if (known.length < 2) return [];
  const edge = (sign) => known.map((row) => Math.min(1, Math.max(0, row[y] + sign * row[`${y}_interval`])));
  const color = colorOf(rows[0].attack);
  const across = known.map((row) => row[x]);
  return [{
    x: [...across, ...across.slice().reverse()], y: [...edge(1), ...edge(-1).reverse()],
    fill: "toself", fillcolor: `${color}1c`, line: { width: 0 }, mode: "lines", hoverinfo: "skip",
  }];
}

/** Whether nothing of this attack has been drawn in the same place: bands and lines can coincide. */
function isNew(seen, attack, trace) {
  const key = JSON.stringify([attack, trace.x, trace.y]);
  return !seen.has(key) && seen.add(key);
}

/** From the lowest to the highest of some shares, with some room, but never below 0 or above 100 %. */
function shareRange(values) {
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const room = Math.max(0.02, 0.04 * (high - low));
  return [Math.max(0, low - room), Math.min(1, high + room)];
}

const MOST_LINES = 60;

/** The lines, or where they are too many to be told apart those without a defense and under the one that buys most. */
function few(lines) {
  if (lines.length <= MOST_LINES) return lines;
  const order = byWhatTheyBuy(FINALS.filter(isChosen), document.getElementById("basis").value);
  const kept = [order[0], order[order.length - 1]];
  return lines.filter((line) => kept.includes(line[0].defense));
}

/** Lines, each once, and which others lie on them: pairs of attack and sentence. */
function curvesOf(shown, x) {
  const drawn = new Map();
  const covered = [];
  const byDefense = (a, b) => DEFENSES.indexOf(a[0].defense) - DEFENSES.indexOf(b[0].defense);
  for (const line of grouped(shown, "attack", "defense").sort(byDefense)) {
    const { attack, defense } = line[0];
    const key = JSON.stringify([attack, line.map((row) => [row[x], row.accuracy])]);
    if (drawn.has(key)) covered.push(`${attack}: ${defense} on ${drawn.get(key)[0].defense}`);
    else drawn.set(key, line);
  }
  return [[...drawn.values()], covered];
}

function drawCurves(rows, x, isLog, hasBands) {
  const shown = rows.filter((row) => isNumber(row[x]) && (!isLog || row[x] > 0));
  const bands = new Set();
  const [found, covered] = curvesOf(shown, x);
  const curves = few(found);
  const traces = curves.flatMap((line) => [
    ...(hasBands ? band(line, x, "accuracy") : []).filter((trace) => isNew(bands, line[0].attack, trace)),
    {
      x: line.map((row) => row[x]), y: line.map((row) => row.accuracy), mode: "lines+markers", cliponaxis: false,
      text: line.map(hover), hovertemplate: "%{text}<extra></extra>", name: placeOf(line[0]),
      ...styleOf(line[0].attack, DEFENSES.indexOf(line[0].defense)),
    },
  ]);
  const [, long, brief] = AXES.find(([name]) => name === x);
  const title = window.innerWidth < 600 ? brief ?? long : long;
  const victims = unique(shown.map((row) => row.victim_accuracy));
  const xaxis = isLog && shown.length ? logAxis(shown.map((row) => row[x]), window.innerWidth < 600 ? 5 : 10) : {};
  const range = shareRange([...traces.flatMap((trace) => trace.y), ...victims]);
  Plotly.react("curves", traces, {
    ...layout({ ...xaxis, title }, { title: "accuracy", tickformat: ".0%", range }),
    shapes: victims.map((y) => ({ type: "line", xref: "paper", x0: 0, x1: 1, y0: y, y1: y, line: { color: css("--soft"), width: 1 } })),
  }, CONFIG);
  const lying = covered.length ? `Lines that lie on others: ${covered.join("; ")}.` : "";
  const many = curves.length < found.length ? `Of ${found.length} lines the ${curves.length} under ${unique(curves.map((line) => line[0].defense)).join(" and ")} are drawn; choose attacks or defenses above for others.` : "";
  document.getElementById("curves-note").textContent = [many, leftOut(rows, shown, title), lying].filter(Boolean).join(" ");
  tellOnClick("curves", new Map(curves.map((line) => [placeOf(line[0]), line])));
}

/** What a chart cannot show: lines without this cost, and zeros on a logarithmic axis. */
function leftOut(rows, shown, title) {
  const isMissing = (line) => !shown.some((row) => row.attack === line[0].attack && row.defense === line[0].defense);
  const missing = grouped(rows, "attack").flatMap((attack) => {
    const lines = grouped(attack, "defense");
    const without = lines.filter(isMissing).map((line) => line[0].defense);
    if (!without.length) return [];
    return [attack[0].attack + (without.length < lines.length ? ` under ${without.join(", ")}` : "")];
  });
  if (!missing.length) return "";
  return `Not shown (${title}: not measured, or zero on a logarithmic axis): ${missing.join("; ")}.`;
}

function drawStrengths(rows) {
  const attackers = grouped(rows, "attack", "toll").map((line) => ({
    x: line.map((row) => row.strength), y: line.map((row) => row.overhead), mode: "lines+markers",
    text: line.map(hover), hovertemplate: "%{text}<extra></extra>",
    ...styleOf(line[0].attack, TOLLS.indexOf(line[0].toll)),
  }));
  const honest = grouped(rows, "toll", "queries").map((line) => {
    const points = grouped(line, "strength").map((same) => same[0]);
    return {
      x: points.map((row) => row.strength), y: points.map((row) => row.honest_overhead), mode: "lines",
      hovertemplate: `honest user, ${count(line[0].queries)} queries: ×%{y:.3g}<extra></extra>`,
      line: { color: css("--soft"), width: 6, dash: DASHES[TOLLS.indexOf(line[0].toll) % DASHES.length] }, opacity: 0.55,
    };
  });
  const values = rows.map((row) => row.strength);
  const overheads = rows.flatMap((row) => [row.overhead, row.honest_overhead]);
  Plotly.react("strengths", [...honest, ...attackers], layout(
    { type: "log", title: "strength of the calibration", tickvals: unique(values), ticktext: unique(values).map((value) => short(value)) },
    { ...logAxis(overheads, 9), title: "overhead" },
  ), CONFIG);
}

/** Where a defense's name stands in a panel: at its lowest point, unless it costs (almost) nothing there. */
function named(rows, loss) {
  const most = Math.max(...rows.map((row) => row[loss]));
  return grouped(rows.filter((row) => row[loss] > 0.01 * most), "toll").map((points) => points.reduce(
    (low, row) => (row.accuracy < low.accuracy || (row.accuracy === low.accuracy && row[loss] > low[loss]) ? row : low),
  ));
}

/** Two panels side by side: accuracy against the answers, and against the time, that an honest user loses. */
function drawFrontier(rows) {
  const panels = [["answers_lost", "x", "answers lost"], ["time_lost", "x2", "extra time"]];
  const traces = panels.flatMap(([loss, xaxis]) => grouped(rows, "attack", "toll").map((line) => {
    const points = line.slice().sort((a, b) => a.time_lost - b.time_lost);
    const style = styleOf(line[0].attack, TOLLS.indexOf(line[0].toll));
    const ring = { color: css("--text"), width: points.map((row) => (row.is_undominated ? 2 : 0)) };
    return {
      x: points.map((row) => row[loss]), y: points.map((row) => row.accuracy), xaxis, mode: "lines+markers", cliponaxis: false,
      text: points.map(hover), hovertemplate: "%{text}<extra></extra>",
      ...style, marker: { ...style.marker, size: 9, line: ring },
    };
  }));
  const annotations = panels.flatMap(([loss, xref]) => named(rows, loss).map((row) => ({
    x: row[loss], y: row.accuracy, xref, text: escaped(row.toll), showarrow: false, yshift: -14,
  })));
  const narrow = window.innerWidth < 600;
  const [answers, time] = panels.map(([, , title]) => ({ title: narrow ? title : `honest user's ${title}`, tickformat: ".0%", tickangle: 0, rangemode: "tozero" }));
  for (const [axis, [loss]] of [[answers, panels[0]], [time, panels[1]]]) {
    const most = Math.max(...rows.map((row) => row[loss]));
    axis.range = [0, most > 0 ? 1.06 * most : 0.1];
  }
  const range = shareRange(rows.map((row) => row.accuracy));
  const base = layout(answers, { title: "accuracy of the stolen model", tickformat: ".0%", range });
  Plotly.react("frontier", traces, {
    ...base,
    annotations,
    xaxis: { ...base.xaxis, domain: [0, 0.56], nticks: narrow ? 3 : 6 },
    xaxis2: { ...layout(time, {}).xaxis, domain: [0.64, 1], nticks: narrow ? 3 : 5, anchor: "y" },
  }, CONFIG);
}
