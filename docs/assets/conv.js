/* The arithmetic of a convolution layer: sizes, taps, what padding repeats, which channels meet. Nothing is drawn here.
 *
 * It runs in a browser and in Node, and a test holds it to what jaxconv.explain says, the words of errors included.
 *
 * `settings` have an entry per spatial axis where PyTorch's arguments do:
 *   size, kernelSize, stride, dilation, outputPadding: arrays of ints; padding: an array of ints, "same" or "valid";
 *   paddingMode: a string; transposed: a boolean; inChannels, outChannels, groups: ints.
 */
"use strict";

const conv = (() => {
  const PADDING_MODES = ["zeros", "reflect", "replicate", "circular", "symmetric"];
  const TRANSPOSED_PADDING_MODES = ["zeros", "circular"];

  const sum = (numbers) => numbers.reduce((total, n) => total + n, 0);
  const product = (numbers) => numbers.reduce((total, n) => total * n, 1);
  const range = (length, start = 0, step = 1) => Array.from({ length }, (_, i) => start + i * step);

  /** As Python writes a tuple. */
  const tuple = (value) =>
    Array.isArray(value) ? `(${value.map(tuple).join(", ")}${value.length === 1 ? "," : ""})` : String(value);

  /** How many positions a kernel covers, from its first tap to its last. */
  const span = (kernel, dilation) => dilation * (kernel - 1) + 1;

  /** The [low, high] pads of each axis; "same" puts its odd one at the end. */
  function resolvePads({ padding, kernelSize, dilation }) {
    if (padding === "valid") return kernelSize.map(() => [0, 0]);
    if (padding !== "same") return padding.map((p) => [p, p]);
    const reach = kernelSize.map((k, axis) => span(k, dilation[axis]) - 1);
    return reach.map((r) => [Math.floor(r / 2), r - Math.floor(r / 2)]);
  }

  /** The position of an image of `size` that fills `position`, both counted from its first; null where a zero does. */
  function sourceIndex(mode, position, size) {
    if (0 <= position && position < size) return position;
    if (mode === "zeros") return null;
    const atStart = position < 0;
    const beyond = atStart ? -1 - position : position - size;
    if (mode === "circular") return atStart ? size - 1 - beyond : beyond;
    if (mode === "replicate") return atStart ? 0 : size - 1;
    const mirrored = mode === "reflect" ? beyond + 1 : beyond;
    return atStart ? mirrored : size - 1 - mirrored;
  }

  /** The positions that `place` of the output reads; of a transposed layer those that `place` of the input writes to. */
  const taps = (axis, place) => range(axis.kernelSize, place * axis.stride - axis.pads[0], axis.dilation);

  /** For each output channel the input channels that it reads. */
  function channelMap(inChannels, outChannels, groups) {
    const [reads, makes] = [inChannels / groups, outChannels / groups];
    return range(outChannels).map((out) => range(reads, Math.floor(out / makes) * reads));
  }

  /** The shape of the weight. */
  function weightShape({ transposed, inChannels, outChannels, groups, kernelSize }) {
    const [first, second] = transposed ? [inChannels, outChannels] : [outChannels, inChannels];
    return [first, second / groups, ...kernelSize];
  }

  /** How the size of the output along an axis is computed, with the numbers filled in. */
  function arithmetic(axis) {
    const { size, kernelSize, stride, dilation, pads, outputPadding, outputSize, transposed } = axis;
    const reach = `${dilation} * (${kernelSize} - 1)`;
    if (!transposed) {
      return `floor((${size} + ${pads[0]} + ${pads[1]} - ${reach} - 1) / ${stride}) + 1 = ${outputSize}`;
    }
    const cut = `(${size} - 1) * ${stride} - ${pads[0]} - ${pads[1]}`;
    return `${cut} + ${reach} + 1 + ${outputPadding} = ${outputSize}`;
  }

  /** What can be seen along an axis: the side with many positions, those of them that are kept, and who is connected. */
  function view(axis, paddingMode) {
    const { size, outputSize, pads, transposed } = axis;
    const [kept, places] = transposed ? [outputSize, size] : [size, outputSize];
    const end = Math.max(kept + (transposed ? 0 : pads[1]), taps(axis, places - 1).at(-1) + 1);
    const many = range(end + pads[0], -pads[0]);
    const connected = range(places).flatMap((place) => taps(axis, place));
    const isKept = (position) => 0 <= position && position < kept;
    const source = (position) => sourceIndex(paddingMode, position, kept);
    return {
      many,
      kept,
      places,
      isKept,
      source,
      taps: (place) => taps(axis, place),
      /** How many connections end at a position; those of the image get those of what repeats them, too. */
      count: (position) => connected.filter((p) => (isKept(position) ? source(p) : p) === position).length,
    };
  }

  /** The numbers of each axis of a layer, or an Error in the library's words. */
  function parse(settings) {
    const { paddingMode, transposed, groups, padding } = settings;
    const modes = transposed ? TRANSPOSED_PADDING_MODES : PADDING_MODES;
    if (transposed && typeof padding === "string") {
      const ints = settings.size.length === 1 ? "1 int" : `${settings.size.length} ints`;
      throw new Error(
        `padding of a transposed convolution must be an int or a tuple of ${ints}, got '${padding}'; ` +
          "the size of the result is chosen by output_size",
      );
    }
    if (!modes.includes(paddingMode)) {
      const listed = modes.map((mode) => `'${mode}'`).join(", ");
      throw new Error(`padding_mode must be one of ${listed}, got '${paddingMode}'`);
    }
    checkGroups(groups, "in_channels", settings.inChannels);
    checkGroups(groups, "out_channels", settings.outChannels);
    if (padding === "same") checkSame(settings);
    return (transposed ? parseTransposed : parsePlain)(settings, resolvePads(settings));
  }

  function parsePlain(settings, pads) {
    checkPads(settings.paddingMode, pads, settings.size);
    return settings.size.map((size, i) => {
      const { kernelSize, stride, dilation } = atAxis(settings, i);
      const padded = size + sum(pads[i]);
      const covered = span(kernelSize, dilation);
      if (padded < covered) {
        throw new Error(
          `kernel_size ${tuple(settings.kernelSize)} with dilation ${tuple(settings.dilation)} spans ${covered} ` +
            `positions on spatial axis ${i}, where the padded input has only ` +
            `${size} + ${pads[i][0]} + ${pads[i][1]} = ${padded}; use a smaller kernel or dilation, or more padding`,
        );
      }
      const outputSize = Math.floor((padded - covered) / stride) + 1;
      return { size, kernelSize, stride, dilation, pads: pads[i], outputSize, transposed: false };
    });
  }

  function parseTransposed(settings, pads) {
    const { outputPadding, stride, dilation, kernelSize, size, paddingMode } = settings;
    if (outputPadding.some((p, i) => p >= Math.max(stride[i], dilation[i]))) {
      throw new Error(
        `output_padding must be smaller than stride or dilation along each axis, got ${tuple(outputPadding)} with ` +
          `stride ${tuple(stride)} and dilation ${tuple(dilation)}`,
      );
    }
    const sheet = size.map((n, i) => (n - 1) * stride[i] + span(kernelSize[i], dilation[i]));
    const outputSize = sheet.map((n, i) => n - sum(pads[i]) + outputPadding[i]);
    if (outputSize.some((n) => n < 1)) {
      throw new Error(
        `padding ${tuple(pads)} leaves an output of size ${tuple(outputSize)} of the ${tuple(sheet)} positions that ` +
          `an input of size ${tuple(size)} and a kernel of size ${tuple(kernelSize)} make; use less padding`,
      );
    }
    if (paddingMode === "circular") {
      const wrapped = pads.map(([low, high], i) => [low, Math.max(high - outputPadding[i], 0)]);
      checkPads(paddingMode, wrapped, outputSize);
    }
    return size.map((_, i) => ({
      ...atAxis(settings, i),
      pads: pads[i],
      outputSize: outputSize[i],
      transposed: true,
    }));
  }

  const atAxis = ({ size, kernelSize, stride, dilation, outputPadding }, i) => ({
    size: size[i],
    kernelSize: kernelSize[i],
    stride: stride[i],
    dilation: dilation[i],
    outputPadding: outputPadding[i],
  });

  function checkGroups(groups, name, channels) {
    if (channels % groups === 0) return;
    const nearest = range(channels, 1)
      .filter((divisor) => channels % divisor === 0)
      .reduce((best, divisor) => (Math.abs(divisor - groups) < Math.abs(best - groups) ? divisor : best));
    throw new Error(
      `groups must divide ${name}, got groups=${groups} and ${name}=${channels}; ${nearest} would divide it`,
    );
  }

  function checkSame({ stride, kernelSize, dilation }) {
    if (stride.every((s) => s === 1)) return;
    const totals = stride.map((s, i) => Math.max(span(kernelSize[i], dilation[i]) - s, 0));
    const pads = totals.map((total) => [Math.floor(total / 2), total - Math.floor(total / 2)]);
    throw new Error(
      `padding='same' needs stride 1, got stride ${tuple(stride)}: PyTorch does not define it. ` +
        `TensorFlow's SAME would be padding=${tuple(pads)} for an image whose size the stride divides`,
    );
  }

  function checkPads(mode, pads, size) {
    const limitOf = { zeros: () => Infinity, reflect: (n) => n - 1, replicate: () => Infinity };
    pads.forEach((pair, axis) => {
      const limit = (limitOf[mode] ?? ((n) => n))(size[axis]);
      if (Math.max(...pair) <= limit) return;
      throw new Error(
        `padding_mode='${mode}' can pad at most ${limit} where the image has size ${size[axis]}, got padding ` +
          `${tuple(pair)} on spatial axis ${axis}; use less padding, or an image of at least ` +
          `${size[axis] + Math.max(...pair) - limit} there`,
      );
    });
  }

  return { PADDING_MODES, parse, view, taps, sourceIndex, channelMap, weightShape, arithmetic, product, range, tuple };
})();

if (typeof module !== "undefined") module.exports = conv;
