"use strict";
// The page's data as rows, and how its figures are written.

const DATA = JSON.parse(document.getElementById("data").textContent);

/** Rows of a frame that came as columns. */
function rowsOf(columns) {
  const names = Object.keys(columns);
  if (!names.length) return [];
  return columns[names[0]].map((_, i) => Object.fromEntries(names.map((name) => [name, columns[name][i]])));
}

const FINALS = rowsOf(DATA.finals);
const LINES = rowsOf(DATA.lines);
const STRENGTHS = rowsOf(DATA.strengths);
const FRONTIER = rowsOf(DATA.frontier);

const unique = (values) => [...new Set(values)];
const DATASETS = unique(FINALS.map((row) => row.dataset));
/** In the order that gives them their looks: defenses from the one that costs an honest user least on. */
const { attacks: ATTACKS, defenses: DEFENSES, tolls: TOLLS } = DATA.looks;

const isNumber = (value) => typeof value === "number";

/** Some digits, with thousands separated, and a power of ten where there would be many zeros. */
function short(value, digits = 3) {
  if (!isNumber(value)) return "";
  if (!Number.isFinite(value)) return "∞";
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-4 || size >= 1e7)) {
    const [mantissa, exponent] = value.toExponential(digits - 1).split("e");
    const raised = [...String(Number(exponent))].map((sign) => "⁰¹²³⁴⁵⁶⁷⁸⁹⁻"["0123456789-".indexOf(sign)]);
    return `${mantissa.replace(/\.?0+$/, "")} × 10${raised.join("")}`;
  }
  return Number(value.toPrecision(digits)).toLocaleString("en-GB", { maximumSignificantDigits: 7 });
}

const times = (value) => (isNumber(value) ? `×${short(value)}` : "–");
const percent = (value) => (isNumber(value) ? `${(100 * value).toFixed(1)} %` : "–");
/** Dollars; the many that are a fraction of a cent as $3.1e-6, which is short. */
function usd(value) {
  if (!isNumber(value)) return "–";
  return value > 0 && value < 1e-3 ? `$${value.toExponential(1)}` : `$${short(value, 2)}`;
}

const count = (value) => (isNumber(value) ? Math.round(value).toLocaleString("en-GB") : "–");

/** Writes a number as a measure's Python format has it: .4g has digits, .2f decimals; others are short. */
function written(format) {
  const [, digits, kind] = /^,?\.(\d+)([gf])$/.exec(format) ?? [];
  if (kind === "g") return (value) => short(value, Math.max(1, Number(digits)));
  const decimals = { minimumFractionDigits: Number(digits), maximumFractionDigits: Number(digits) };
  return kind === "f" ? (value) => (isNumber(value) ? value.toLocaleString("en-GB", decimals) : "–") : short;
}

/** A difference of shares in points, with its sign. */
const points = (value) => (isNumber(value) ? `${value > 0 ? "+" : ""}${(100 * value).toFixed(2)}` : "–");

/** Every figure that the page shows: its column, its name, how it is written. */
const FIGURES = [
  ["queries", "queries", count],
  ["accuracy", "accuracy", percent],
  ["fidelity", "fidelity", percent],
  ["accuracy_change", "against no defense, points", points],
  ["overhead", "attacker's time", times],
  ["cheapest_overhead", "attacker's time at best", times],
  ["honest_overhead", "honest user's time", times],
  ["attacker_usd", "attacker pays", usd],
  ["honest_usd", "honest user pays", usd],
  ["queries_to_90", "queries to 90 %", count],
  ["seconds_to_90", "price of 90 %, s", short],
  ["honest_q95", "honest 95 % quantile, s", short],
  ["price_over_honest", "price of 90 % over it", times],
  ["least_over_honest", "cheapest price over it", times],
  ["queries_over_honest", "queries to 90 % over honest ones", times],
  ["honest_accuracy", "honest user's accuracy", percent],
  ["honest_l1", "honest user's L1", short],
  ["honest_calibration_error", "calibration error", percent],
  ["honest_false_alarms", "false alarms", percent],
  ["honest_refused", "honest refused", percent],
  ["alarm", "attacker raises the alarm", percent],
  ["kl", "KL from the victim", short],
  ["transfer", "transfer", percent],
  ["total_seconds", "seconds with work", short],
  ["query_seconds", "without work", short],
  ["expected_hashes", "expected hashes", short],
  ["attacker_solve_seconds", "attacker solves, s", short],
  ...DATA.measures.map(([name, title, format]) => [name, title, written(format)]),
  ["victim_accuracy", "victim's accuracy", percent],
].filter(([name]) => FINALS.some((row) => isNumber(row[name])));

const AXES = [
  ["total_seconds", "seconds that the attacker takes: answers, and work on its hardware", "attacker's seconds"],
  ["queries", "queries"],
  ...DATA.measures.map(([name, title]) => [name, title]),
  ["overhead", "overhead: time with work over time without", "overhead"],
  ["attacker_usd", "USD for solving, on the attacker's hardware", "USD for solving"],
].filter(([name]) => LINES.some((row) => isNumber(row[name])));

/** Figures that are lower bounds where not every seed came to 90 % of the victim's accuracy. */
const BOUNDED = new Set(["queries_to_90", "seconds_to_90", "price_over_honest", "least_over_honest", "queries_over_honest"]);

/** A mean with half the width of its interval, of a multiple with both ends, where several seeds differ. */
function withInterval(row, name, write) {
  if (BOUNDED.has(name) && isNumber(row[name]) && row.reached_90 < 1) return [`> ${write(row[name])}`, ""];
  const [low, high, half] = ["low", "high", "interval"].map((end) => row[`${name}_${end}`]);
  const isCutOff = isNumber(low) && Math.abs(high - row[name] - (row[name] - low)) > 0.05 * half; // of rounded figures
  if (isNumber(half) && !isCutOff) return [write(row[name]), half > 1e-9 * Math.abs(row[name]) ? ` ± ${write(half).replace(/^[×+]/, "")}` : ""];
  if (isNumber(low) && !isNumber(high)) return [write(row[name]), ` (${write(low)} or more)`];
  if (isNumber(low)) return [write(row[name]), high > low * (1 + 1e-9) ? ` (${write(low)} to ${write(high)})` : ""];
  return [write(row[name]), ""];
}

/** What attacker and honest user are compared by: the column of the ratio, those of both sides, how they are written. */
const BASES = {
  price: { more: "least_over_honest", honest: "honest_q95", write: (value) => `${short(value)} s` },
  best: { more: "more_best", attacker: "cheapest_overhead", honest: "honest_overhead", write: times },
  time: { more: "more_time", attacker: "overhead", honest: "honest_overhead", write: times },
  money: { more: "more_money", attacker: "attacker_usd", honest: "honest_usd", write: usd },
};

/** How many times more an attacker pays than an honest user; null where nobody works. */
const ratio = (row, basis) => (isFree(row) ? null : row[BASES[basis].more] ?? null);

const isBound = (row, name) => BOUNDED.has(name) && row.reached_90 < 1;

/** Both ends of what a ratio may be; without an upper end where it is a lower bound. */
function ends(row, basis) {
  const name = BASES[basis].more;
  const value = ratio(row, basis);
  if (value === null || isBound(row, name)) return [value, value === null ? null : Infinity];
  const low = row[`${name}_low`];
  return isNumber(low) ? [low, row[`${name}_high`] ?? NO_END] : [value, value];
}

/** The upper end of an interval that has none, of a price that was reached. */
const NO_END = Number.MAX_VALUE;

/** A ratio in words: `5 times`, `2 to 13 times`, `more than 1.03 times, in vain`. */
function inWords(row, basis) {
  const [low, high] = ends(row, basis);
  if (low === null) return "";
  if (high === Infinity) return `more than ${short(low)} times, in vain`;
  if (high === NO_END) return `${short(low)} times or more`;
  if (short(low) === "1" && short(high) === "1") return "as much";
  return short(low) === short(high) ? `${short(low)} times` : `${short(low)} to ${short(high)} times`;
}

/** What a defense takes from a copy's accuracy, by the interval of the paired difference from none. */
function lossInWords(row) {
  const change = row.accuracy_change;
  if (!isNumber(change)) return "";
  const half = row.accuracy_change_interval ?? 0;
  const [least, most] = [-change - half, -change + half].map((value) => (100 * value).toFixed(1));
  if (least > 0) return `, ${least} to ${most} points less than without a defense`;
  if (most < 0) return `, ${(-most).toFixed(1)} to ${(-least).toFixed(1)} points more than without a defense`;
  return Number(most) === 0 ? ", as without a defense" : `, not more than ${most} points less than without a defense`;
}

/** The share of an honest user's answers that is lost: half the L1 distance, and what is refused. */
const answersLost = (row) => (isNumber(row.honest_l1) ? row.honest_l1 / 2 + (row.honest_refused ?? 0) : null);

/** Whether a cell asks for no work at all. */
const isFree = (row) => row.defense.split(/[ ,]/)[0] === "none" || (row.overhead === 1 && row.honest_overhead === 1);

const gaveUp = (row) => {
  const seeds = Math.round(row.gave_up * row.seeds);
  if (!seeds) return "";
  return seeds === row.seeds ? "gave up" : `${seeds} of ${row.seeds} gave up`;
};

/** What is told at once: the figures that say whether a defense holds; others are told on a click. */
const FIRST = ["accuracy", "least_over_honest", "price_over_honest", "cheapest_overhead", "overhead", "honest_overhead", "attacker_usd", "fidelity"];
const AT_ONCE = 5;

/** Figures of a row by name and text, those that matter most first. */
function told(row) {
  const place = ([name]) => (FIRST.includes(name) ? FIRST.indexOf(name) : FIRST.length);
  return FIGURES.filter(([name]) => isNumber(row[name])).sort((a, b) => place(a) - place(b))
    .map(([name, title, write]) => [title, withInterval(row, name, write).join("")]);
}

/** An element with attributes and children; text is never read as HTML. */
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}
