// The page takes a picture and a key, asks the gate, has the puzzle solved, and shows the answer with its price.

import { asQuery, paint, readPicture, scaleTo } from "./images.js";
import { isSolved, notBegun, solve, SolverFailure } from "./solving.js";

const SOLVED_HERE = "sha256";
const SHOWN_CLASSES = 10;
const PASSING = [0, 408, 409, 429, 500, 502, 503, 504]; // statuses of passing trouble; 0 means no answer
const TRIES = 5; // of a request, under passing trouble
const FIRST_WAIT = 0.5; // seconds before the second try, doubled each time; after a minute's wait nobody is left
const LONGEST_WAIT = 20;
const MUCH_WORK = 2e9; // expected hashes, some ten minutes of a core, that are not begun without being told

const element = (id) => document.getElementById(id);
const pad = element("pad");
const ink = pad.getContext("2d", { willReadFrequently: true });

let model = null;
let picture = null; // pixels in the model's shape
let loading = null; // resolves when a file has become the picture, or was refused
let bill = null; // the challenge that is being paid or was paid last, and the progress of it
let idle = false; // whether the visitor may ask
let cancel = null; // stops the solver, while there is one
let pen = null; // where the pen is, during a stroke

const EXPIRED = "The puzzle has expired before it was solved. Ask again for a new one.";

/** Says in plain words why there is no answer; `goesOn` means that solving can go on where it stopped. */
class Refusal extends Error {
  constructor(text, goesOn = false) {
    super(text);
    this.goesOn = goesOn;
  }
}

class Cancelled extends Refusal {
  constructor() {
    super("Cancelled. The question counts all the same; you can go on where you stopped.", true);
  }
}

// What the gate serves

async function start() {
  takeKeyFromAddress();
  try {
    model = await call("v1/model");
  } catch (error) {
    element("served").hidden = true;
    tellUnable(`${error.message} Reload the page to try again.`);
    return;
  }
  element("served").textContent = served(model);
  const reason = whyUnable(model);
  if (reason) tellUnable(reason);
  else openQuestion();
}

/** Move a key from the address to the form, so that neither the history nor a shared link has it. */
function takeKeyFromAddress() {
  const key = new URLSearchParams(location.hash.slice(1)).get("key");
  if (key === null) return;
  element("key").value = key;
  history.replaceState(null, "", location.pathname + location.search);
}

function served({ image_shape: [channels, height, width], classes, answers }) {
  const colour = { 1: "grey", 3: "colour" }[channels] ?? `${channels}-channel`;
  const given = {
    soft: "a probability for each",
    topk: "probabilities of the likeliest",
    hard: "the likeliest",
  }[answers];
  return `The model takes ${colour} pictures of ${width} × ${height} pixels, knows ${classes} classes, and
    answers with ${given}.`;
}

function whyUnable({ image_shape: [channels], puzzle }) {
  if (![1, 3].includes(channels)) {
    return `A file's picture does not have ${channels} channels, so this page cannot ask. ${pythonClient()}`;
  }
  if (puzzle !== SOLVED_HERE) return unknownPuzzle(puzzle);
  return null;
}

function unknownPuzzle(kind) {
  return `This gate asks for ${kind} puzzles, and this page solves ${SOLVED_HERE} only. ${pythonClient()}`;
}

function pythonClient() {
  return `The Python client can: tollgate ask ${location.origin} picture.png`;
}

function tellUnable(text) {
  element("unable").textContent = text;
  element("unable").hidden = false;
}

function openQuestion() {
  const [channels, height, width] = model.image_shape;
  pad.height = Math.round((pad.width * height) / width);
  element("drop").classList.toggle("drawable", channels === 1);
  clearPicture();
  setIdle(true);
}

// The picture

function clearPicture() {
  ink.fillStyle = "black";
  ink.fillRect(0, 0, pad.width, pad.height);
  takePicture(pad, "none yet");
  picture = null;
  element("hint").textContent =
    model.image_shape[0] === 1 ? "Draw here in white, or drop a picture" : "Drop a picture here";
}

function takeFile(file) {
  if (file && idle) loading = loadPicture(file);
}

async function loadPicture(file) {
  showRefusal("");
  forgetAnswer();
  try {
    const canvas = await readPicture(file);
    ink.drawImage(canvas, 0, 0, pad.width, pad.height);
    takePicture(canvas, file.name);
  } catch {
    showRefusal(`${file.name} cannot be read: this page takes PNG, JPEG, GIF and WebP, and no animated PNG.`);
  }
}

function takePicture(canvas, name) {
  picture = scaleTo(model.image_shape, canvas);
  paint(picture, element("seen"));
  pad.setAttribute("aria-label", `Your picture: ${name}`);
  element("hint").textContent = "";
  forgetAnswer();
}

function startStroke(event) {
  if (!idle || event.button !== 0 || model.image_shape[0] !== 1) return;
  pad.setPointerCapture(event.pointerId);
  pen = pointOf(event);
  draw(event);
}

function draw(event) {
  if (!idle || !pen) return;
  ink.beginPath();
  ink.moveTo(...pen);
  pen = pointOf(event);
  ink.lineTo(...pen);
  // Thick enough to leave a trace in a small picture, and like a pen's in a larger one.
  ink.lineWidth = pad.width / Math.min(model.image_shape[2], 14);
  ink.lineCap = "round";
  ink.strokeStyle = "white";
  ink.stroke();
  takePicture(pad, "a drawing");
}

function endStroke() {
  pen = null;
}

function pointOf({ offsetX, offsetY }) {
  const scale = pad.width / pad.clientWidth;
  return [offsetX * scale, offsetY * scale];
}

// Asking and paying

async function ask() {
  await loading;
  if (!picture) throw new Refusal("There is no picture yet: choose a file, drop one, or draw.");
  forgetAnswer();
  say("Asking …");
  const key = element("key").value.trim();
  const content = { images: [asQuery(picture)] };
  const asked = await call("v1/predict", { key, content, expected: 402, attempt: randomName() });
  bill = { key, ...asked, done: notBegun(asked.puzzle), spent: 0 };
  showToll(bill);
  if (bill.puzzle.expected_hashes > MUCH_WORK) {
    throw new Refusal("That is much work for a browser. Begin it only if you want to.", true);
  }
  await pay(bill);
}

/** A name for one question: sent again under it, it is counted once and gets the same puzzle. */
function randomName() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

async function pay(bill) {
  if (bill.puzzle.kind !== SOLVED_HERE) throw new Refusal(unknownPuzzle(bill.puzzle.kind));
  say("Solving the puzzle …");
  await work(bill);
  say("Handing in the solution …");
  const content = { challenge: bill.challenge, nonces: bill.done.nonces };
  showAnswer(await call("v1/redeem", { key: bill.key, content }), bill);
}

/** Have the rest of the puzzle solved. Rejects when cancelled; the bill keeps the progress. */
async function work(bill) {
  const before = { tried: bill.done.tried, spent: bill.spent, at: performance.now() };
  const stopping = new AbortController();
  cancel = () => stopping.abort(new Cancelled());
  const left = Math.min(bill.until - performance.now(), 2 ** 31 - 1);
  const ending = setTimeout(() => stopping.abort(new Refusal(EXPIRED)), left);
  showToggle("Cancel");
  try {
    await solve(bill.puzzle, bill.done, () => {
      bill.spent = before.spent + (performance.now() - before.at) / 1000;
      showProgress(bill, (bill.done.tried - before.tried) / (bill.spent - before.spent));
    }, stopping.signal);
  } catch (error) {
    if (error instanceof SolverFailure) throw new Refusal(`The solver failed: ${error.message}.`, error.passing);
    throw error;
  } finally {
    clearTimeout(ending);
    cancel = null;
  }
}

/**
 * Return the gate's response, and under `until` when what it asks expires, by this page's clock. Passing trouble is
 * waited out. Rejects with a Refusal for any status but the expected one.
 */
async function call(path, { key, content, expected = 200, attempt } = {}) {
  const request = { cache: "no-store", headers: {} };
  if (key) request.headers.Authorization = `Bearer ${key}`;
  if (attempt) request.headers["Idempotency-Key"] = attempt;
  if (content) {
    request.method = "POST";
    request.headers["Content-Type"] = "application/json";
    request.body = JSON.stringify(content);
  }
  for (let tried = 1; ; tried++) {
    const response = await fetch(path, request).catch(() => null);
    const said = await response?.json().catch(() => null);
    if (said && response.status === expected) return { ...said, until: untilWhen(response, said) };
    const passes = PASSING.includes(response?.status ?? 0) && said?.reason !== "spent";
    const wait = Number(response?.headers.get("Retry-After")) || FIRST_WAIT * 2 ** (tried - 1) * (0.5 + Math.random() / 2);
    if (!passes || tried === TRIES || wait > LONGEST_WAIT) throw new Refusal(inWords(response, said), passes);
    say(`${inWords(response, said)} Trying again …`);
    await new Promise((resolve) => setTimeout(resolve, 1000 * wait));
  }
}

/** When a challenge expires, in this page's milliseconds: the gate's clock may differ from ours. */
function untilWhen(response, { expires = Infinity }) {
  const now = Date.parse(response.headers.get("Date") ?? "") || Date.now();
  return performance.now() + 1000 * expires - now;
}

function inWords(response, said) {
  if (!response) return "The gate does not answer.";
  if (!said?.detail) return `The gate answered with status ${response.status}, and no reason.`;
  const wait = Number(response.headers.get("Retry-After"));
  const again = wait ? ` Try again in ${duration(wait)}.` : "";
  return `${said.detail[0].toUpperCase()}${said.detail.slice(1)}.${again}`;
}

/** Run a task, unless one is running, and show the error that it throws. */
async function attempt(task) {
  if (!idle) return;
  setIdle(false);
  showRefusal("");
  let goesOn = false;
  try {
    await task();
  } catch (error) {
    showFailure(error);
    goesOn = bill !== null && error.goesOn;
  } finally {
    setIdle(true);
    showToggle(goesOn ? "Go on" : "");
  }
}

function setIdle(value) {
  idle = value;
  element("picture").disabled = !idle;
  // The button is not disabled, since that would take the focus away from it.
  element("ask").setAttribute("aria-disabled", String(!idle));
}

// What is shown

function say(text) {
  if (element("status").textContent !== text) element("status").textContent = text;
}

function showFailure(error) {
  if (!(error instanceof Refusal)) console.error(error);
  const cancelled = error instanceof Cancelled;
  say(cancelled ? error.message : "");
  if (!cancelled) showRefusal(error.message, bill ? "toll-refusal" : "refusal");
}

function showRefusal(text, place = "refusal") {
  for (const id of ["refusal", "toll-refusal"]) element(id).textContent = id === place ? text : "";
}

/** Scroll to an element, since on a small screen a new one may be out of sight. */
function bringIntoView(id) {
  element(id).scrollIntoView({ block: "nearest" });
}

function showToggle(text) {
  const toggle = element("toggle");
  if (!text && document.activeElement === toggle) element("ask").focus();
  toggle.textContent = text;
  toggle.hidden = !text;
}

function forgetAnswer() {
  bill = null;
  for (const id of ["facts", "work", "answer"]) element(id).hidden = true;
  for (const id of ["no-toll", "no-answer"]) element(id).hidden = false;
  showToggle("");
  say("");
}

function showToll({ puzzle, done, until }) {
  element("no-toll").hidden = true;
  element("facts").hidden = false;
  element("kind").textContent = puzzle.kind;
  element("expected").textContent = whole(puzzle.expected_hashes);
  element("parts").textContent = whole(puzzle.parts);
  element("expires").textContent = `in ${duration(Math.max(0, until - performance.now()) / 1000)}`;
  element("work").hidden = puzzle.kind !== SOLVED_HERE;
  showProgress({ puzzle, done, spent: 0, until }, 0);
  bringIntoView("toll");
}

function showProgress({ puzzle, done, spent, until }, rate) {
  const share = done.tried / puzzle.expected_hashes;
  element("bar").value = isSolved(done) ? 1 : Math.min(share, 1);
  element("tried").textContent = `${whole(done.tried)} of some ${whole(puzzle.expected_hashes)}`;
  element("rate").textContent = rate ? `${rounded(rate)} hashes/s` : "";
  element("elapsed").textContent = duration(spent);
  element("expires").textContent = `in ${duration(Math.max(0, until - performance.now()) / 1000)}`;
  if (done.tried) say(milestone(share));
}

/** Return the progress in a sentence that changes a few times only, since screen readers read it out. */
function milestone(share) {
  if (share < 0.25) return "Solving the puzzle …";
  if (share < 0.5) return "A quarter of the expected work is done.";
  if (share < 0.75) return "Half of the expected work is done.";
  if (share < 1) return "Three quarters of the expected work are done.";
  return "More than the expected work is done: how much it takes is a matter of luck.";
}

function showAnswer({ labels, probabilities }, bill) {
  element("no-answer").hidden = true;
  element("answer").hidden = false;
  const ranked = probabilities ? rank(probabilities[0]) : [];
  const best = labels ? labels[0] : ranked[0].label;
  element("label").textContent = nameOf(best);
  element("classes").replaceChildren(...ranked.slice(0, SHOWN_CLASSES).map(classRow));
  element("rest").textContent = others(ranked.slice(SHOWN_CLASSES));
  element("paid").textContent = price(bill);
  bringIntoView("answer");
  say(`Paid and answered: ${nameOf(best)}${labels ? "" : `, ${percent(ranked[0].probability)}`}.`);
}

function nameOf(label) {
  return model.class_names?.[label] ?? `Class ${label}`;
}

function rank(probabilities) {
  return probabilities
    .map((probability, label) => ({ label, probability }))
    .filter(({ probability }) => probability > 0)
    .sort((one, other) => other.probability - one.probability);
}

function classRow({ label, probability }) {
  const bar = document.createElement("span");
  bar.style.setProperty("--share", probability);
  const track = node("span", "share", bar);
  track.setAttribute("aria-hidden", "true");
  return node("li", "", node("span", "", `${nameOf(label)} `), track, node("span", "percent", percent(probability)));
}

function node(name, style, ...children) {
  const made = document.createElement(name);
  made.className = style;
  made.append(...children);
  return made;
}

function others(rest) {
  if (!rest.length) return "";
  return `and ${whole(rest.length)} more classes, none above ${percent(rest[0].probability)}`;
}

function price({ puzzle, done, spent }) {
  return `Paid with some ${whole(done.tried)} hashes in ${duration(spent)}. Expected were
    ${whole(puzzle.expected_hashes)}.`;
}

function whole(value) {
  return Math.round(value).toLocaleString("en");
}

function rounded(value) {
  return value.toLocaleString("en", { maximumSignificantDigits: 2 });
}

function percent(probability) {
  return `${(100 * probability).toFixed(2)} %`;
}

function duration(seconds) {
  if (seconds < 1) return `${rounded(1000 * seconds)} ms`;
  if (seconds < 120) return `${seconds.toFixed(1)} s`;
  if (seconds < 7200) return `${rounded(seconds / 60)} min`;
  return `${rounded(seconds / 3600)} h`;
}

// What the visitor does

element("form").addEventListener("submit", (event) => {
  event.preventDefault();
  attempt(ask);
});
element("toggle").addEventListener("click", () => (cancel ? cancel() : attempt(() => pay(bill))));
element("clear").addEventListener("click", clearPicture);
element("file").addEventListener("change", ({ target }) => {
  takeFile(target.files[0]);
  target.value = ""; // the same file may be chosen again
});
pad.addEventListener("pointerdown", startStroke);
pad.addEventListener("pointermove", draw);
pad.addEventListener("pointerup", endStroke);
pad.addEventListener("pointercancel", endStroke);
addEventListener("dragover", (event) => {
  if (!event.dataTransfer.types.includes("Files")) return;
  event.preventDefault();
  element("drop").classList.add("over");
});
addEventListener("dragleave", () => element("drop").classList.remove("over"));
addEventListener("drop", (event) => {
  if (!event.dataTransfer.types.includes("Files")) return;
  event.preventDefault();
  element("drop").classList.remove("over");
  takeFile(event.dataTransfer.files[0]);
});
addEventListener("hashchange", takeKeyFromAddress);

start();
