"use strict";
// Filters, the matrix, the table, and the page as a whole.

const byId = (id) => document.getElementById(id);
const chosen = { dataset: DATASETS[0], attack: new Set(ATTACKS), defense: new Set(DEFENSES) };
const sorting = { column: null, down: true };

const isChosen = (row) => row.dataset === chosen.dataset && chosen.attack.has(row.attack)
  && (row.defense === undefined || chosen.defense.has(row.defense));

function swatch(attack, number) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("width", 26);
  svg.setAttribute("height", 8);
  const line = document.createElementNS("http://www.w3.org/2000/svg", "line");
  const attributes = { x1: 0, x2: 26, y1: 4, y2: 4, "stroke-width": 3, stroke: attack ? colorOf(attack) : "currentColor" };
  for (const [name, value] of Object.entries(attributes)) line.setAttribute(name, value);
  svg.append(line);
  if (number !== null) line.setAttribute("stroke-dasharray", DASHES[number % DASHES.length].replace("solid", "").replace(/px,?/g, " "));
  if (attack && opened(attack)) {
    const dot = document.createElementNS("http://www.w3.org/2000/svg", "circle");
    const hollow = { cx: 13, cy: 4, r: 3, fill: "var(--surface)", stroke: colorOf(attack), "stroke-width": 2 };
    for (const [name, value] of Object.entries(hollow)) dot.setAttribute(name, value);
    svg.append(dot);
  }
  return svg;
}

function chip(type, name, value, isOn, picture, change) {
  const input = make("input", { type, name, value });
  input.checked = isOn;
  input.addEventListener("change", () => { change(input.checked); draw(); });
  return make("label", { class: "chip" }, input, ...picture, value);
}

function makeFilters() {
  for (const dataset of DATASETS) {
    byId("choose-dataset").append(chip("radio", "dataset", dataset, dataset === chosen.dataset, [], () => {
      chosen.dataset = dataset;
    }));
  }
  const groups = [["attack", ATTACKS, (attack) => [swatch(attack, null)]],
    ["defense", DEFENSES, (_, number) => [swatch(null, number)]]];
  for (const [name, values, picture] of groups) {
    const set = chosen[name];
    const field = byId(`choose-${name}`);
    values.forEach((value, number) => field.append(chip("checkbox", name, value, true, picture(value, number), (isOn) => {
      if (isOn) set.add(value); else set.delete(value);
    })));
    if (values.length < 3) continue;
    const button = make("button", { type: "button", class: "chip plain" }, "all / none");
    button.addEventListener("click", () => {
      const isOn = set.size === 0;
      field.querySelectorAll("input").forEach((input) => { input.checked = isOn; });
      set.clear();
      if (isOn) values.forEach((value) => set.add(value));
      draw();
    });
    field.append(button);
  }
}

/** How far a defense keeps an attacker off, by both ends of how many times it pays what an honest user pays. */
const OUTCOMES = [
  ["stops (the attacker gives up): ", (row) => row.gave_up === 1],
  ["cannot tell from honest users, as it asks what they ask: ", (row) => row.asks_as_honest === 1],
  ["holds back (the attacker pays at least 10 times what an honest user pays): ", (_, low) => low >= 10],
  ["slows (at least twice as much): ", (_, low) => low >= 2],
  ["does not stop (less than twice as much): ", (_, low, high) => high < 2],
  ["seeds do not tell whether it slows: ", (_, low, high) => high < Infinity],
  ["did not come to 90 % of the victim by what it asked: ", () => true],
];

/** What a defense costs an honest user, in time or money and in answers. */
function honestCost(rows, basis) {
  const lost = rows.map(answersLost).filter(isNumber);
  const most = Math.max(...lost);
  const answers = !lost.length ? "" : most < 5e-4 ? ", and keeps its answers as they are" : `, and loses ${percent(most)} of its answers`;
  const overhead = rows.every((row) => isFree(row) || row.honest_overhead === 1) ? "takes no more time"
    : `takes ${range(rows, "time").replaceAll(/×(?=\d)/g, "")} times as long`;
  const more = { price: `; 95 % of honest users stay below ${range(rows, "price")} of work`, money: `; it pays ${range(rows, "money")}` };
  return `an honest user who asks as much ${overhead}${answers}${rows.some((row) => ratio(row, basis) !== null) ? more[basis] ?? "" : ""}.`;
}

/** For each defense what it costs honest users, and which attackers it stops, holds back, slows, and does not stop. */
function drawVerdict(rows, basis) {
  const items = DEFENSES.flatMap((defense) => {
    const own = rows.filter((row) => row.defense === defense && defense !== "none");
    if (!own.length) return [];
    const outcome = (row) => OUTCOMES.findIndex(([, holds]) => holds(row, ...ends(row, basis)));
    const attackers = own.filter((row) => ratio(row, basis) !== null || row.gave_up === 1);
    const parts = OUTCOMES.flatMap(([verb], number) => {
      const those = attackers.filter((row) => outcome(row) === number);
      const told = those.map((row) => [row.attack, inWords(row, basis)]).map(([attack, paid]) => (paid ? `${attack} (${paid})` : attack));
      return told.length ? [make("em", {}, verb), `${told.join("; ")}. `, make("br")] : [];
    });
    const unpriced = own.filter((row) => !attackers.includes(row)).map((row) => `${row.attack} (${percent(row.accuracy)}${lossInWords(row)})`);
    if (unpriced.length) parts.push(make("em", {}, "asks for no work; the stolen models' accuracy: "), unpriced.join("; "));
    if (own.every((row) => row.seeds === 1)) parts.push("One seed: what others would give is in no interval. ");
    return [make("li", {}, make("strong", {}, defense), `: ${honestCost(own, basis)} `, make("br"), ...parts)];
  });
  byId("verdict").replaceChildren(...items);
  byId("as-text").value = items.map((item) => item.innerText || item.textContent).join("\n\n");
}

/** What an honest user pays, from the attacker who asks least to the one who asks most. */
function range(rows, basis) {
  const { honest, write } = BASES[basis];
  const all = rows.map((row) => row[honest]).filter(isNumber);
  if (!all.length) return "–";
  const [low, high] = [write(Math.min(...all)), write(Math.max(...all))];
  return low === high ? low : `${low} to ${high}`;
}

function shade(cell, value) {
  if (value === null) return;
  const place = Math.log10(value);
  const share = Math.round(100 * Math.min(1, place < 0 ? -place : place / 2));
  const color = place < 0 ? "--cheap" : "--expensive";
  cell.style.background = `color-mix(in srgb, var(${color}) ${Math.round(0.8 * share)}%, var(--surface))`;
}

/** Shows figures beside a place on the screen. */
function showTip(title, pairs, box, more = "") {
  const tip = byId("tip");
  const list = make("dl", {}, ...pairs.flatMap(([name, text]) => [make("dt", {}, name), make("dd", {}, text)]));
  tip.replaceChildren(make("b", {}, title), list, ...(more ? [make("small", {}, more)] : []));
  tip.hidden = false;
  const below = box.bottom + tip.offsetHeight + 12 < window.innerHeight;
  tip.style.top = `${Math.max(4, below ? box.bottom + 6 : box.top - tip.offsetHeight - 6)}px`;
  tip.style.left = `${Math.max(4, Math.min(box.left, window.innerWidth - tip.offsetWidth - 8))}px`;
}

const hideTip = () => { byId("tip").hidden = true; };

/** A cell tells its first figures when it is pointed at or focused, and all on a click or Enter. */
function describe(cell, title, pairs) {
  const show = (all) => {
    const more = all || pairs.length <= AT_ONCE ? "" : `${pairs.length - AT_ONCE} more on a click`;
    showTip(title, all ? pairs : pairs.slice(0, AT_ONCE), cell.getBoundingClientRect(), more);
  };
  cell.tabIndex = 0;
  for (const event of ["mouseenter", "focus"]) cell.addEventListener(event, () => show(false));
  for (const event of ["mouseleave", "blur"]) cell.addEventListener(event, hideTip);
  cell.addEventListener("click", () => show(true));
  cell.addEventListener("keydown", (event) => {
    if (event.key === "Enter" || event.key === " ") { event.preventDefault(); show(true); }
  });
}

/** What an attacker paid, beside what an honest user pays. */
function paid(row, basis) {
  const { attacker, honest, more, write } = BASES[basis];
  if (attacker) return `${write(row[attacker])}, honest ${write(row[honest])}`;
  if (ratio(row, basis) === null) return "no work asked";
  return isBound(row, more) ? `not 90 %, for ×${short(row[more])}` : `90 % for ${times(row[more])}`;
}

function attackerCell(row, basis) {
  if (!row) return make("td", { class: "empty" }, "–");
  const cell = make("td", {}, make("b", {}, percent(row.accuracy)));
  if (gaveUp(row)) cell.firstChild.append(make("span", { class: "badge" }, gaveUp(row)));
  const free = isFree(row);
  cell.append(make("span", {}, free ? "no work asked" : paid(row, basis)));
  if (free) cell.classList.add("free");
  const more = ratio(row, basis);
  shade(cell, more);
  describe(cell, `${row.attack} under ${row.defense}`, [
    ...(gaveUp(row) ? [["attacker", gaveUp(row)]] : []),
    ...(more === null ? [] : [["attacker's over honest user's", times(more)]]),
    ...told(row),
    ["seeds", String(row.seeds)],
  ]);
  return cell;
}

function honestCell(rows, defense, basis) {
  const same = rows.filter((row) => row.defense === defense);
  const free = same.some(isFree);
  const what = { price: "of work: 95 % of users stay below", money: "for as many answers" }[basis] ?? "of its time without work";
  const cell = make("td", {}, make("b", {}, free && basis === "price" ? "0 s" : range(same, basis)), make("span", {}, free ? "no work asked" : what));
  const lost = Math.max(0, ...same.map(answersLost).filter(isNumber));
  if (lost >= 5e-4) cell.append(make("span", { class: "lost" }, `${percent(lost)} of its answers lost`));
  const { honest, write } = BASES[basis];
  const steps = grouped(same.slice().sort((a, b) => a.queries - b.queries), "queries").map((at) => at[0]);
  describe(cell, `Honest user under ${defense}`, steps.map((row) => [`after ${count(row.queries)} queries`, write(row[honest])]));
  return cell;
}

/** Defenses from the one that makes attackers pay least on; of equal ones, that leaves them less accurate last. */
function byWhatTheyBuy(rows, basis) {
  const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;
  const worth = (defense) => {
    const own = rows.filter((row) => row.defense === defense);
    return [mean(own.map((row) => Math.log(Math.max(1e-9, ratio(row, basis) ?? 1)))), -mean(own.map((row) => row.accuracy))];
  };
  const named = DEFENSES.filter((defense) => rows.some((row) => row.defense === defense));
  const scores = new Map(named.map((defense) => [defense, worth(defense)]));
  const isNone = (defense) => Number(defense === "none");
  return named.sort((a, b) => isNone(b) - isNone(a) || scores.get(a)[0] - scores.get(b)[0] || scores.get(a)[1] - scores.get(b)[1]);
}

function drawMatrix(rows, basis) {
  const defenses = byWhatTheyBuy(rows, basis);
  const mostExpensive = (attack) => Math.max(...rows.filter((row) => row.attack === attack).map((row) => ratio(row, basis) ?? 0));
  const attacks = unique(rows.map((row) => row.attack)).sort((a, b) => mostExpensive(b) - mostExpensive(a));
  const head = make("tr", {}, make("th", {}, ""), ...defenses.map((defense) => make("th", { scope: "col" }, defense)));
  const honest = make("tr", { class: "honest" },
    make("th", { scope: "row" }, "honest user"), ...defenses.map((defense) => honestCell(rows, defense, basis)));
  const body = attacks.map((attack) => {
    const own = rows.filter((row) => row.attack === attack);
    const knows = own[0].knows ? [make("small", {}, `knows the ${own[0].knows}`)] : [];
    if (own.some((row) => row.asks_as_honest === 1)) knows.push(make("small", {}, "asks as honest users do"));
    return make("tr", {}, make("th", { scope: "row" }, attack, ...knows),
      ...defenses.map((defense) => attackerCell(own.find((row) => row.defense === defense), basis)));
  });
  byId("matrix").replaceChildren(make("thead", {}, head), make("tbody", {}, honest, ...body));
  const notes = [];
  if (basis === "price") notes.push("×: the work until the copy has 90 % of the victim's accuracy, the attacker asking in its cheapest way, over the work that 95 % of honest users stay below.");
  if (rows.some((row) => row.asks_as_honest === 1)) notes.push("“asks as honest users do”: its queries are what honest users ask, so no price on what answers reveal can tell it from them.");
  if (rows.some((row) => row.knows)) notes.push("“knows the cost”: this attacker knows what the defender would charge, which no real interface tells.");
  if (rows.some(gaveUp)) notes.push("“gave up”: the attacker stopped before a round that would have gone beyond its limit; the figures are those of that moment.");
  byId("matrix-note").textContent = notes.join(" ");
}

function drawTable(rows) {
  const columns = [["attack", "attack"], ["defense", "defense"], ["seeds", "seeds"], ...FIGURES];
  const value = (row, name) => (name === "attack" && row.knows ? `${row.attack} (knows the ${row.knows})` : row[name]);
  const order = (a, b) => {
    const [x, y] = [value(a, sorting.column), value(b, sorting.column)];
    if (x === y) return 0;
    if (x === null || y === null) return x === null ? 1 : -1;
    return (x < y ? -1 : 1) * (sorting.down ? -1 : 1);
  };
  const sorted = sorting.column ? rows.slice().sort(order) : rows;
  const head = columns.map(([name, title]) => {
    const button = make("button", { type: "button" }, title);
    button.addEventListener("click", () => {
      sorting.down = sorting.column === name ? !sorting.down : isNumber(rows[0]?.[name]);
      sorting.column = name;
      drawTable(rows);
      byId("table").querySelectorAll("th button")[columns.findIndex((column) => column[0] === name)].focus();
    });
    const sort = sorting.column === name ? { "aria-sort": sorting.down ? "descending" : "ascending" } : {};
    return make("th", { scope: "col", class: FIGURES.some((figure) => figure[0] === name) ? "figure" : "", ...sort }, button);
  });
  const body = sorted.map((row) => make("tr", {}, ...columns.map(([name, , write]) => {
    if (!write) return make("td", {}, String(value(row, name)), ...(name === "attack" && gaveUp(row) ? [make("span", { class: "badge" }, gaveUp(row))] : []));
    const [mean, half] = isNumber(row[name]) ? withInterval(row, name, write) : ["–", ""];
    return make("td", { class: "figure" }, mean, make("small", {}, half));
  })));
  byId("table").replaceChildren(make("thead", {}, make("tr", {}, ...head)), make("tbody", {}, ...body));
}

function draw() {
  const rows = FINALS.filter(isChosen);
  const basis = byId("basis").value;
  drawVerdict(rows, basis);
  drawMatrix(rows, basis);
  drawTable(rows);
  drawCurves(LINES.filter(isChosen), byId("axis").value, byId("log").checked, byId("bands").checked);
  const strengths = STRENGTHS.filter(isChosen);
  byId("strength").hidden = strengths.length === 0;
  if (strengths.length) drawStrengths(strengths);
  const compared = FRONTIER.filter(isChosen);
  byId("compared").hidden = compared.length === 0;
  if (compared.length) drawFrontier(compared);
}

byId("about").textContent = `${DATA.cells === 1 ? "1 cell" : `${count(DATA.cells)} cells`}. Attackers ask for answers and train a copy on them; where a defense asks for work, each answer must be paid for with computing.`;
makeFilters();
byId("words").open = DEFENSES.length <= 4;
if (!FIGURES.some(([name]) => name === "least_over_honest")) byId("basis").querySelector("[value=price]").remove();
if (!FIGURES.some(([name]) => name === "cheapest_overhead")) byId("basis").querySelector("[value=best]").remove();
if (!FIGURES.some(([name]) => name === "attacker_usd")) byId("basis").closest(".controls").hidden = true;
for (const [name, title] of AXES) byId("axis").append(make("option", { value: name }, title));
for (const id of ["axis", "log", "bands", "basis"]) byId(id).addEventListener("change", draw);
document.addEventListener("keydown", (event) => { if (event.key === "Escape") hideTip(); });
byId("as-text").addEventListener("focus", () => byId("as-text").select());
window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
draw();
