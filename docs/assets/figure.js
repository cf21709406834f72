/* An interactive figure of a convolution layer. Its numbers come from conv.js.
 *
 *   <div class="conv-figure" data-show="stride" data-stride="2" markdown>![what it shows](picture.svg)</div>
 *
 * A data attribute sets what the layer begins with; one number stands for both axes, "3,5" for each by itself.
 * `data-show` names the settings that are in sight, the others can be unfolded. Without scripts the picture stays.
 */
"use strict";

(() => {
  const PER_AXIS = ["kernelSize", "stride", "padding", "dilation", "outputPadding"];
  const LIMITS = {
    height: [1, 10],
    width: [1, 10],
    kernelSize: [1, 5],
    stride: [1, 4],
    padding: [0, 6],
    dilation: [1, 3],
    outputPadding: [0, 3],
    inChannels: [1, 12],
    outChannels: [1, 12],
    groups: [1, 12],
  };
  const DEFAULTS = {
    size: "6,7",
    kernelSize: "3",
    stride: "1",
    padding: "0",
    dilation: "1",
    outputPadding: "0",
    inChannels: "1",
    outChannels: "1",
    groups: "1",
    paddingMode: "zeros",
  };
  // PyTorch's names are the same in every language.
  const NAMES = {
    kernelSize: "kernel_size",
    outputPadding: "output_padding",
    inChannels: "in_channels",
    outChannels: "out_channels",
    paddingMode: "padding_mode",
  };
  const TEXTS = {
    en: {
      height: "input height",
      width: "input width",
      transposed: "transposed",
      apart: "each axis by itself",
      paddingKind: "padding as",
      numbers: "numbers",
      more: "More settings",
      input: (size) => `input ${size}`,
      paddedInput: (size) => `input ${size}, and its padding`,
      output: (size) => `output ${size}`,
      cutOutput: (size) => `output ${size}, and what is cut off`,
      choose: "The arrow keys choose a position.",
      position: (row, column) => `row ${row}, column ${column}`,
      reads: (at, rows, columns) => `Output ${at} reads rows ${rows} and columns ${columns}.`,
      writes: (at, rows, columns) => `Input ${at} writes to rows ${rows} and columns ${columns}.`,
      zeros: "What lies in the padding is 0.",
      repeats: (pairs) => `Padding repeats: ${pairs}.`,
      from: (position, source) => `${position} is ${source}`,
      cut: "What falls outside of the output is cut off.",
      wraps: (pairs) => `What falls outside is added: ${pairs}.`,
      to: (position, target) => `${position} to ${target}`,
      row: "row",
      column: "column",
      unread: (axis, list) => `No window reads ${axis} ${list}.`,
      unwritten: (axis, list) => `Nothing is written to ${axis} ${list}: the bias stands there alone.`,
      channels: (out, first, last) => `Output channel ${out} reads input channels ${first} to ${last}.`,
      channel: (out, only) => `Output channel ${out} reads input channel ${only} alone.`,
      channelMap: "which input channels (across) each output channel (down) reads",
      weight: (shape, count) => `weight ${shape}: ${count} numbers`,
    },
    // A particle's form depends on how the word before it ends, so none stands behind a number.
    ko: {
      height: "입력 높이",
      width: "입력 너비",
      transposed: "전치",
      apart: "축마다 따로",
      paddingKind: "패딩을 주는 방법",
      numbers: "숫자",
      more: "설정 더 보기",
      input: (size) => `입력 ${size}`,
      paddedInput: (size) => `입력 ${size}, 패딩 포함`,
      output: (size) => `출력 ${size}`,
      cutOutput: (size) => `출력 ${size}, 잘리는 부분 포함`,
      choose: "방향키로 위치를 고릅니다.",
      position: (row, column) => `${row}행 ${column}열`,
      reads: (at, rows, columns) => `출력 ${at}에서는 입력의 ${rows}행과 ${columns}열을 읽습니다.`,
      writes: (at, rows, columns) => `입력 ${at}에서는 출력의 ${rows}행과 ${columns}열에 씁니다.`,
      zeros: "패딩에 놓인 값은 0입니다.",
      repeats: (pairs) => `패딩이 반복하는 값: ${pairs}.`,
      from: (position, source) => `${position}에는 ${source}의 값`,
      cut: "출력 밖으로 나간 값은 버립니다.",
      wraps: (pairs) => `출력 밖으로 나간 값은 반대쪽에 더합니다: ${pairs}.`,
      to: (position, target) => `${position}의 값은 ${target}에`,
      row: "행",
      column: "열",
      unread: (axis, list) => `어느 커널도 읽지 않는 ${axis}: ${list}.`,
      unwritten: (axis, list) => `아무 값도 쓰이지 않아 편향만 남는 ${axis}: ${list}.`,
      channels: (out, first, last) => `출력 채널 ${out}에서는 입력 채널 ${first}부터 ${last}까지 읽습니다.`,
      channel: (out, only) => `출력 채널 ${out}에서는 입력 채널 ${only} 하나만 읽습니다.`,
      channelMap: "출력 채널(세로)마다 읽는 입력 채널(가로)",
      weight: (shape, count) => `가중치 ${shape}: ${count}개`,
    },
  };
  const text = TEXTS[document.documentElement.lang] ?? TEXTS.en;
  const label = (name) => text[name] ?? NAMES[name] ?? name;
  const minus = (value) => String(value).replace(/-/g, "−");
  let figures = 0;

  function element(tag, attributes = {}, ...children) {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (value !== false && value !== undefined) made.setAttribute(name, value === true ? "" : value);
    }
    made.append(...children);
    return made;
  }

  /** What the data attributes of the element say. */
  function readSettings(data) {
    const given = { ...DEFAULTS, ...data };
    const pair = (name) => {
      const numbers = given[name].split(",").map(Number);
      return numbers.length === 1 ? [numbers[0], numbers[0]] : numbers;
    };
    const settings = { size: pair("size"), paddingMode: given.paddingMode, transposed: "transposed" in data };
    for (const name of PER_AXIS) settings[name] = /\d/.test(given[name]) ? pair(name) : given[name];
    for (const name of ["inChannels", "outChannels", "groups"]) settings[name] = Number(given[name]);
    return settings;
  }

  class Figure {
    constructor(root) {
      this.id = `conv-figure-${++figures}`;
      this.settings = readSettings(root.dataset);
      const { padding } = this.settings;
      this.padding = typeof padding === "string" ? [1, 1] : padding;
      this.paddingKind = typeof padding === "string" ? padding : "numbers";
      this.apart = PER_AXIS.some((name) => this.settings[name][0] !== this.settings[name][1] && name !== "padding");
      this.apart ||= this.padding[0] !== this.padding[1];
      this.place = (root.dataset.place ?? "1,1").split(",").map(Number);
      this.makeParts(root, (root.dataset.show ?? "").split(" ").filter(Boolean));
      this.update();
    }

    makeParts(root, shown) {
      this.controls = {};
      const front = element("div", { class: "conv-controls" });
      const back = element("div", { class: "conv-controls" });
      for (const [name, control] of this.makeControls()) (shown.includes(name) ? front : back).append(control);
      this.error = element("p", { class: "conv-error", role: "alert", hidden: true });
      this.drawing = element("div", { class: "conv-drawing" });
      this.formula = element("output", { class: "conv-formula" });
      this.story = element("p", { class: "conv-story", "aria-live": "polite" });
      const more = element("details", { class: "conv-more" }, element("summary", {}, text.more), back);
      root.replaceChildren(front, more, this.error, this.drawing, this.formula, this.story);
      root.classList.add("conv-ready");
    }

    /** The controls, in PyTorch's order, with the names by which `data-show` calls them. */
    *makeControls() {
      yield ["transposed", this.makeCheckbox("transposed", this.settings, "transposed")];
      yield ["size", this.makeSlider("height", this.settings.size, 0)];
      yield ["size", this.makeSlider("width", this.settings.size, 1)];
      yield ["inChannels", this.makeSlider("inChannels", this.settings, "inChannels")];
      yield ["outChannels", this.makeSlider("outChannels", this.settings, "outChannels")];
      for (const name of PER_AXIS) {
        if (name === "padding") yield ["paddingKind", this.makeSelect("paddingKind", this, ["numbers", "same", "valid"])];
        const target = name === "padding" ? this.padding : this.settings[name];
        for (const axis of [0, 1]) yield [name, this.makeSlider(name, target, axis, true)];
      }
      yield ["groups", this.makeSlider("groups", this.settings, "groups")];
      yield ["paddingMode", this.makeSelect("paddingMode", this.settings, conv.PADDING_MODES)];
      yield ["apart", this.makeCheckbox("apart", this, "apart")];
    }

    makeSlider(name, target, key, isPerAxis = false) {
      const id = `${this.id}-${name}${isPerAxis ? key : ""}`;
      const [min, max] = LIMITS[name];
      const input = element("input", { type: "range", id, min, max, step: 1, value: target[key] });
      const caption = element("label", { for: id }, label(name));
      const value = element("span", { class: "conv-value", "aria-hidden": "true" });
      const control = element("div", { class: "conv-control" }, caption, value, input);
      input.addEventListener("input", () => {
        target[key] = Number(input.value);
        if (isPerAxis && !this.apart) target[1] = target[0];
        this.update();
      });
      this.controls[id] = () => {
        input.value = target[key];
        value.textContent = target[key];
        if (!isPerAxis) return;
        control.hidden =
          (key === 1 && !this.apart) ||
          (name === "padding" && this.paddingKind !== "numbers") ||
          (name === "outputPadding" && !this.settings.transposed);
        caption.textContent = this.apart ? `${label(name)}, ${"HW"[key]}` : label(name);
      };
      return control;
    }

    makeSelect(name, target, values) {
      const id = `${this.id}-${name}`;
      const options = values.map((value) => element("option", { value }, value === "numbers" ? text.numbers : value));
      const select = element("select", { id }, ...options);
      select.addEventListener("change", () => {
        target[name] = select.value;
        this.update();
      });
      this.controls[id] = () => (select.value = target[name]);
      return element("div", { class: "conv-control" }, element("label", { for: id }, label(name)), select);
    }

    makeCheckbox(name, target, key) {
      const id = `${this.id}-${name}`;
      const input = element("input", { type: "checkbox", id });
      input.addEventListener("change", () => {
        target[key] = input.checked;
        if (key === "apart" && !this.apart) {
          for (const pair of [this.padding, ...PER_AXIS.map((each) => this.settings[each])]) {
            if (Array.isArray(pair)) pair[1] = pair[0];
          }
        }
        this.update();
      });
      this.controls[id] = () => (input.checked = target[key]);
      const caption = element("label", { for: id }, label(name));
      return element("div", { class: "conv-control conv-check" }, input, caption);
    }

    /** Draws everything anew after a setting has changed. */
    update() {
      const { settings } = this;
      settings.padding = this.paddingKind === "numbers" ? this.padding : this.paddingKind;
      for (const refresh of Object.values(this.controls)) refresh();
      let axes;
      try {
        axes = conv.parse(settings);
      } catch (error) {
        this.error.textContent = error.message;
      }
      this.error.hidden = Boolean(axes);
      for (const part of [this.drawing, this.formula, this.story]) part.hidden = !axes;
      if (!axes) return;
      this.error.textContent = "";
      this.views = axes.map((axis) => conv.view(axis, settings.paddingMode));
      this.place = this.place.map((at, i) => Math.min(at, this.views[i].places - 1));
      this.draw(axes);
      this.choose(this.place);
    }

    draw(axes) {
      const { settings, views } = this;
      const sizes = ["size", "outputSize"].map((name) => axes.map((axis) => axis[name]).join(" × "));
      const isPadded = axes.some((axis) => axis.pads.some(Boolean));
      const [input, output] = settings.transposed
        ? [text.input, isPadded ? text.cutOutput : text.output]
        : [isPadded ? text.paddedInput : text.input, text.output];
      const titles = [input(sizes[0]), output(sizes[1])];
      const [one, many] = settings.transposed ? titles : titles.reverse();
      const window = this.drawSide(many, this.drawMany());
      const places = this.drawSide(one, this.drawPlaces(one));
      const sides = settings.transposed ? [places, window] : [window, places];
      if (settings.inChannels * settings.outChannels > 1) sides.push(this.drawChannels());
      const columns = [views[1].many.length, views[1].places];
      this.drawing.style.setProperty("--columns", columns[0] + columns[1]);
      this.drawing.style.setProperty("--widest", Math.max(...columns));
      this.drawing.replaceChildren(...sides);
      const lines = axes.map((axis, i) => element("span", {}, `${"HW"[i]}: ${minus(conv.arithmetic(axis))}`));
      const shape = conv.weightShape(settings);
      const count = conv.product(shape).toLocaleString("en");
      lines.push(element("span", {}, text.weight(conv.tuple(shape), count)));
      this.formula.replaceChildren(...lines);
    }

    drawSide(title, grid) {
      return element("div", { class: "conv-side" }, element("div", { class: "conv-title" }, title), grid);
    }

    /** Rows of cells with the numbers of the positions above and on the left. */
    makeGrid(rows, columns, attributes, makeCell, rowAttributes = {}) {
      const tick = (value) => element("span", { class: "conv-tick", "aria-hidden": "true" }, minus(value));
      const top = element("div", { class: "conv-row", "aria-hidden": "true" }, tick(""), ...columns.map(tick));
      const lines = rows.map((row) => {
        const cells = columns.map((column) => makeCell(row, column));
        return element("div", { class: "conv-row", ...rowAttributes }, tick(row), ...cells);
      });
      return element("div", { class: "conv-grid", ...attributes }, top, ...lines);
    }

    /** The side with many positions for one of the other: the padded input, or the output before it is cut. */
    drawMany() {
      const [down, across] = this.views;
      this.cells = [];
      const makeCell = (row, column) => {
        const cell = element("span", { class: "conv-cell" });
        const inside = down.isKept(row) && across.isKept(column);
        const source = [down.source(row), across.source(column)];
        const isFilled = !source.includes(null);
        if (!inside) cell.classList.add("conv-padding");
        if (down.count(row) * across.count(column) === 0) cell.classList.add("conv-unread");
        if (isFilled && this.settings.paddingMode !== "zeros") {
          cell.append(element("span", { class: "conv-tint", style: `background: ${this.tint(source)}` }));
        }
        cell.dataset.at = `${row},${column}`;
        if (isFilled) cell.dataset.from = source.join();
        const plain = this.settings.transposed ? down.count(row) * across.count(column) || "" : inside ? "" : "0";
        const words = this.settings.paddingMode === "zeros" ? plain : isFilled ? source.join() : "";
        cell.append(element("span", { class: "conv-number" }, String(words)));
        this.cells.push([cell, row, column]);
        return cell;
      };
      return this.makeGrid(down.many, across.many, { "aria-hidden": "true" }, makeCell);
    }

    /** A pale colour by the place within the image: what padding repeats has the colour of what it repeats. */
    tint([row, column]) {
      const [down, across] = this.views.map(({ kept }, i) => (100 * [row, column][i]) / Math.max(kept - 1, 1));
      const mix = (a, b, share) => `color-mix(in srgb, ${b} ${share}%, ${a})`;
      const sides = ["0", "1"].map((y) => mix(`var(--conv-tint-${y}0)`, `var(--conv-tint-${y}1)`, across));
      return mix(...sides, down);
    }

    /** The side with one position, which is chosen. */
    drawPlaces(title) {
      this.buttons = [];
      const [down, across] = this.views.map((view) => conv.range(view.places));
      const makeCell = (row, column) => {
        const name = text.position(row, column);
        const cell = element("span", { class: "conv-cell conv-place", role: "gridcell", "aria-label": name });
        cell.dataset.at = `${row},${column}`;
        const choose = () => this.choose([row, column]);
        cell.addEventListener("pointerenter", choose);
        cell.addEventListener("click", choose);
        this.buttons.push([cell, row, column]);
        return cell;
      };
      const attributes = { role: "grid", "aria-label": `${title}. ${text.choose}` };
      const grid = this.makeGrid(down, across, attributes, makeCell, { role: "row" });
      grid.addEventListener("keydown", (event) => this.move(event));
      return grid;
    }

    move(event) {
      const [row, column] = this.place;
      const [lastRow, lastColumn] = this.views.map((view) => view.places - 1);
      const to = {
        ArrowUp: [Math.max(row - 1, 0), column],
        ArrowDown: [Math.min(row + 1, lastRow), column],
        ArrowLeft: [row, Math.max(column - 1, 0)],
        ArrowRight: [row, Math.min(column + 1, lastColumn)],
        Home: [row, 0],
        End: [row, lastColumn],
      }[event.key];
      if (!to) return;
      event.preventDefault();
      this.choose(to);
      this.buttons.find(([, r, c]) => r === to[0] && c === to[1])[0].focus();
    }

    /** Marks a position, what it is connected with, and the next position with what belongs to it; says it. */
    choose(place) {
      this.place = place;
      const next = place.map((at, i) => Math.min(at + 1, this.views[i].places - 1));
      const [taps, nextTaps] = [place, next].map((each) => this.views.map((view, i) => view.taps(each[i])));
      for (const [cell, row, column] of this.cells) {
        cell.classList.toggle("conv-tap", taps[0].includes(row) && taps[1].includes(column));
        cell.classList.toggle("conv-next", nextTaps[0].includes(row) && nextTaps[1].includes(column));
      }
      for (const [cell, row, column] of this.buttons) {
        const isChosen = row === place[0] && column === place[1];
        cell.classList.toggle("conv-tap", isChosen);
        cell.classList.toggle("conv-next", row === next[0] && column === next[1]);
        cell.setAttribute("aria-selected", isChosen);
        cell.tabIndex = isChosen ? 0 : -1;
      }
      this.story.textContent = this.tell(taps).map(minus).join(" ");
    }

    tell(taps) {
      const { settings, views } = this;
      const at = conv.tuple(this.place);
      const [rows, columns] = taps.map((positions) => positions.join(", "));
      const says = [(settings.transposed ? text.writes : text.reads)(at, rows, columns)];
      const axes = [text.row, text.column];
      const outside = taps.flatMap((positions, i) =>
        positions.filter((p) => !views[i].isKept(p)).map((p) => [axes[i], p, views[i].source(p)]),
      );
      if (outside.length) {
        const pairs = outside
          .filter(([, , source]) => source !== null)
          .map(([axis, p, source]) => (settings.transposed ? text.to : text.from)(`${axis} ${p}`, `${axis} ${source}`));
        if (settings.transposed) says.push(pairs.length ? text.wraps(pairs.join("; ")) : text.cut);
        else says.push(pairs.length ? text.repeats(pairs.join("; ")) : text.zeros);
      }
      views.forEach((view, i) => {
        const left = view.many.filter((p) => view.isKept(p) && view.count(p) === 0);
        if (left.length) says.push((settings.transposed ? text.unwritten : text.unread)(axes[i], left.join(", ")));
      });
      if (settings.inChannels * settings.outChannels > 1) {
        const [out, reads] = this.pickedChannel();
        const ends = [reads[0], reads[reads.length - 1]];
        says.push(reads.length > 1 ? text.channels(out, ...ends) : text.channel(out, ends[0]));
      }
      return says;
    }

    /** An output channel of the second group: in the first it would look as if there were no other. */
    pickedChannel() {
      const { inChannels, outChannels, groups } = this.settings;
      const out = groups > 1 ? outChannels / groups : 0;
      return [out, conv.channelMap(inChannels, outChannels, groups)[out]];
    }

    drawChannels() {
      const { inChannels, outChannels, groups } = this.settings;
      const map = conv.channelMap(inChannels, outChannels, groups);
      const [picked] = this.pickedChannel();
      const makeCell = (out, channel) => {
        const cell = element("span", { class: "conv-cell conv-channel" });
        if (map[out].includes(channel)) cell.classList.add(out === picked ? "conv-tap" : "conv-linked");
        return cell;
      };
      const grid = this.makeGrid(conv.range(outChannels), conv.range(inChannels), { "aria-hidden": "true" }, makeCell);
      grid.classList.add("conv-channels");
      return this.drawSide(text.channelMap, grid);
    }
  }

  document.querySelectorAll(".conv-figure").forEach((root) => new Figure(root));
})();
