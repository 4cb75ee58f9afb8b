// Turns pictures into what the model takes. It rounds as Pillow does, so that this page and the Python client ask
// about exactly the same pixels.

const SHARE_BITS = 22;

/** How files begin that browsers decode as the Python client does. */
const KINDS = [/^\x89PNG/, /^\xff\xd8\xff/, /^GIF8/, /^RIFF[^]{4}WEBP/];

const ANIMATED = "acTL"; // of PNG, where programs disagree about the first picture

/** Draw a file's picture on a canvas of its size. Rejects if it is none, or one that clients may decode otherwise. */
export async function readPicture(file) {
  const start = new Uint8Array(await file.slice(0, 65536).arrayBuffer());
  const text = Array.from(start, (byte) => String.fromCharCode(byte)).join("");
  if (!KINDS.some((kind) => kind.test(text)) || (KINDS[0].test(text) && text.includes(ANIMATED))) {
    throw new Error("a file of another kind");
  }
  const bitmap = await createImageBitmap(file, { colorSpaceConversion: "none" });
  const canvas = document.createElement("canvas");
  canvas.width = bitmap.width;
  canvas.height = bitmap.height;
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.fillStyle = "white"; // behind what is transparent, as the client has it
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  return canvas;
}

/** Scale a canvas's picture to the model's shape: bytes [channel][row][column]. */
export function scaleTo([channels, height, width], canvas) {
  return planes(canvas, channels).map((rows) => {
    const narrow = scaledAlong(rows, width);
    return transposed(scaledAlong(transposed(narrow), height));
  });
}

/** Convert bytes to pixels in [0, 1], which the gate takes. */
export function asQuery(pixels) {
  return pixels.map((rows) => rows.map((row) => Array.from(row, (value) => value / 255)));
}

/** Paint pixels on a canvas of their size. */
export function paint(pixels, canvas) {
  const [red, green = red, blue = red] = pixels;
  const [height, width] = [red.length, red[0].length];
  const image = new ImageData(width, height);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      image.data.set([red[y][x], green[y][x], blue[y][x], 255], 4 * (y * width + x));
    }
  }
  canvas.width = width;
  canvas.height = height;
  canvas.getContext("2d").putImageData(image, 0, 0);
}

function planes(canvas, channels) {
  const image = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  if (channels === 1) return [plane(image, luma)];
  return [0, 1, 2].map((channel) => plane(image, (data, at) => data[at + channel]));
}

function plane({ data, width, height }, valueAt) {
  return Array.from({ length: height }, (_, y) => {
    const row = new Uint8Array(width);
    for (let x = 0; x < width; x++) row[x] = valueAt(data, 4 * (y * width + x));
    return row;
  });
}

/** Return grey: 0.299 red + 0.587 green + 0.114 blue. */
function luma(data, at) {
  return (19595 * data[at] + 38470 * data[at + 1] + 7471 * data[at + 2] + 32768) >> 16;
}

function transposed(rows) {
  return Array.from(rows[0], (_, x) => Uint8Array.from(rows, (row) => row[x]));
}

/** Scale each row to another length. */
function scaledAlong(rows, length) {
  const windows = Array.from({ length }, (_, at) => shares(at, rows[0].length, length));
  return rows.map((row) => Uint8Array.from(windows, (window) => weighed(row, window)));
}

function weighed(row, { first, parts }) {
  let sum = 1 << (SHARE_BITS - 1);
  for (let i = 0; i < parts.length; i++) sum += parts[i] * row[first + i];
  return Math.min(255, sum >> SHARE_BITS);
}

/** Return each old pixel's share of a new one: a triangle, wide enough to leave no old pixel out. */
function shares(at, oldLength, newLength) {
  const scale = oldLength / newLength;
  const reach = Math.max(scale, 1);
  const centre = (at + 0.5) * scale;
  const first = Math.max(0, Math.floor(centre - reach + 0.5));
  const end = Math.min(oldLength, Math.floor(centre + reach + 0.5));
  const heights = Array.from({ length: end - first }, (_, i) =>
    Math.max(0, 1 - Math.abs(first + i - centre + 0.5) / reach),
  );
  const total = heights.reduce((sum, height) => sum + height);
  return { first, parts: heights.map((height) => Math.round((height / total) * 2 ** SHARE_BITS)) };
}
