// Pixels to tensors and back, and the cutting of large pictures: plain functions, without a page or a model.

/** The colours of pixels, as the network's [-1, 1] (or the model's own mean and deviation). */
const LUMA = [0.299, 0.587, 0.114];

/** Index of the picture's mirror image beyond its borders; the border itself is not repeated. */
export function mirrored(index, length) {
  if (length === 1) return 0;
  const period = 2 * (length - 1);
  const place = ((index % period) + period) % period;
  return place < length ? place : period - place;
}

/**
 * Where the model looks: the picture, mirrored on to a size that the model takes.
 * @param {number} length Pixels of one side.
 * @param {{size_multiple: number, min_size: number}} model
 * @returns {{before: number, total: number}} Pixels in front of the picture, and in all.
 */
export function padded(length, model) {
  const total = Math.ceil(Math.max(length, model.min_size) / model.size_multiple) * model.size_multiple;
  return { before: Math.floor((total - length) / 2), total };
}

/**
 * Cuts one side into pieces for the model, each with a margin that its neighbours' pixels fill.
 * @param {number} total Pixels, a multiple of `multiple`.
 * @param {number} core Pixels of a piece, a multiple of `multiple`.
 * @param {number} margin Pixels on either side of it, a multiple of `multiple`.
 * @returns {{start: number, end: number, from: number, to: number}[]} [start, end) is looked at, [from, to) is kept.
 */
export function pieces(total, core, margin) {
  if (total <= core + 2 * margin) return [{ start: 0, end: total, from: 0, to: total }];
  const found = [];
  for (let from = 0; from < total; from += core) {
    const to = Math.min(total, from + core);
    found.push({ start: Math.max(0, from - margin), end: Math.min(total, to + margin), from, to });
  }
  return found;
}

/**
 * A part of a picture in model space.
 * @param {Uint8ClampedArray} rgba The whole picture, four bytes a pixel, row by row.
 * @param {{width: number, height: number}} size Its size.
 * @param {{top: number, left: number, height: number, width: number}} part Pixels from the picture's corner; beyond it
 *   the picture is mirrored.
 * @param {{num_channels: number, mean: number[] | null, std: number[] | null}} space The model's.
 * @returns {Float32Array} Channels, rows, columns.
 */
export function toTensor(rgba, size, part, space) {
  const channels = space.num_channels;
  const area = part.width * part.height;
  const tensor = new Float32Array(channels * area);
  const columns = Array.from({ length: part.width }, (_, x) => 4 * mirrored(part.left + x, size.width));
  for (let y = 0, at = 0; y < part.height; y++) {
    const row = 4 * size.width * mirrored(part.top + y, size.height);
    for (let x = 0; x < part.width; x++, at++) {
      const pixel = row + columns[x];
      if (channels === 1) {
        tensor[at] = LUMA.reduce((sum, weight, c) => sum + weight * rgba[pixel + c], 0) / 255;
      } else {
        for (let c = 0; c < channels; c++) tensor[c * area + at] = rgba[pixel + c] / 255;
      }
    }
  }
  for (let c = 0; c < channels; c++) {
    const mean = space.mean ? space.mean[c] : 0.5;
    const std = space.std ? space.std[c] : 0.5;
    for (let i = c * area; i < (c + 1) * area; i++) tensor[i] = (tensor[i] - mean) / std;
  }
  return tensor;
}

/**
 * Writes a part of the model's output into a picture.
 * @param {Float32Array} tensor Channels, rows, columns of what was looked at.
 * @param {{height: number, width: number}} looked Its size.
 * @param {{top: number, left: number, height: number, width: number}} kept The part of it that is kept.
 * @param {Uint8ClampedArray} rgba The picture, which is changed.
 * @param {{width: number, height: number}} size The picture's size.
 * @param {{top: number, left: number}} place Where the kept part's corner belongs; what falls outside is dropped.
 * @param {{num_channels: number, mean: number[] | null, std: number[] | null}} space The model's.
 * @throws {RangeError} If the output is not finite.
 */
export function fromTensor(tensor, looked, kept, rgba, size, place, space) {
  const area = looked.height * looked.width;
  for (let y = 0; y < kept.height; y++) {
    const toY = place.top + y;
    if (toY < 0 || toY >= size.height) continue;
    for (let x = 0; x < kept.width; x++) {
      const toX = place.left + x;
      if (toX < 0 || toX >= size.width) continue;
      const from = (kept.top + y) * looked.width + kept.left + x;
      const to = 4 * (toY * size.width + toX);
      for (let c = 0; c < 3; c++) {
        const channel = space.num_channels === 1 ? 0 : c;
        const mean = space.mean ? space.mean[channel] : 0.5;
        const std = space.std ? space.std[channel] : 0.5;
        const value = tensor[channel * area + from] * std + mean;
        if (!Number.isFinite(value)) throw new RangeError("The model's output is not a number.");
        rgba[to + c] = Math.floor(Math.min(Math.max(value, 0), 1) * 255 + 0.5);
      }
      rgba[to + 3] = 255;
    }
  }
}
