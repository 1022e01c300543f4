// One chart for every figure that moves. A figure names its controls, and gives a function that
// draws their values and returns a sentence about them. What is dragged or pointed at in the
// picture moves a control: mouse, finger, keyboard and screen reader all change the same thing.
function prunekitChart(root, { label, controls, height = 300, draw }) {
  const HIT = 22; // pixels around a handle that a finger finds
  const MARGIN = { left: 58, right: 24, top: 12, bottom: 44 };

  const escaped = (text) => String(text).replace(/[&<"]/g, (c) => `&#${c.charCodeAt(0)};`);
  const fixed = (number) => number.toFixed(2);
  const stroke = ({ colour = "#222", width = 2, dash = "", opacity = 1 }) =>
    `stroke="${colour}" stroke-width="${width}" stroke-dasharray="${dash}" opacity="${opacity}"`;

  // Round numbers along an axis, about as many as fit.
  function ticks(from, to, most) {
    const rough = (to - from) / Math.max(most, 1), power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].map((one) => one * power).find((one) => one >= rough * 0.999);
    const first = Math.ceil(from / step - 1e-9), last = Math.floor(to / step + 1e-9);
    return Array.from({ length: last - first + 1 }, (_, i) => (first + i) * step);
  }

  // A rectangle of the picture with its own axes. Marks take places on these.
  class Plot {
    constructor(picture, { x, y, box, square = false }) {
      this.picture = picture;
      const all = { left: 0, top: 0, width: picture.width, height: picture.height, ...box };
      this.left = all.left + MARGIN.left;
      this.top = all.top + MARGIN.top;
      this.width = all.width - MARGIN.left - MARGIN.right;
      this.height = all.height - MARGIN.top - MARGIN.bottom;
      if (square) this.width = this.height = Math.min(this.width, this.height);
      [this.x, this.y] = [x, y];
      this.clip = `${root.id}-clip-${picture.clips++}`;
      this.axes();
    }

    across = (x) => this.left + ((x - this.x.from) / (this.x.to - this.x.from)) * this.width;
    up = (y) => this.top + ((this.y.to - y) / (this.y.to - this.y.from)) * this.height;
    place = (left, top) => [
      this.x.from + ((left - this.left) / this.width) * (this.x.to - this.x.from),
      this.y.to - ((top - this.top) / this.height) * (this.y.to - this.y.from),
    ];

    axes() {
      const { left, top, width, height, x, y } = this, bottom = top + height;
      const write = (value, format) => format?.(value) ?? this.picture.number(value);
      let svg = `<clipPath id="${this.clip}"><rect x="${left - 6}" y="${top - 6}"
        width="${width + 12}" height="${height + 12}"/></clipPath>`;
      const grid = 'stroke="#222" stroke-opacity="0.13"';
      for (const value of x.ticks ?? ticks(x.from, x.to, width / 70)) {
        const at = fixed(this.across(value));
        svg += `<line x1="${at}" x2="${at}" y1="${top}" y2="${bottom}" ${grid}/>
          <text x="${at}" y="${bottom + 17}" text-anchor="middle">${write(value, x.format)}</text>`;
      }
      for (const value of y.ticks ?? ticks(y.from, y.to, height / 40)) {
        const at = this.up(value);
        const [level, named] = [fixed(at), write(value, y.format)];
        svg += `<line x1="${left}" x2="${left + width}" y1="${level}" y2="${level}" ${grid}/>
          <text x="${left - 7}" y="${fixed(at + 4)}" text-anchor="end">${named}</text>`;
      }
      svg += `<path d="M${left} ${top}V${bottom}H${left + width}" fill="none" stroke="#222"/>
        <text x="${left + width / 2}" y="${bottom + 37}"
        text-anchor="middle">${escaped(x.label)}</text>
        <text transform="translate(${left - MARGIN.left + 13} ${top + height / 2}) rotate(-90)"
        text-anchor="middle">${escaped(y.label)}</text>`;
      this.picture.add(svg);
    }

    line(points, look = {}) {
      const places = points.map(([x, y]) => `${fixed(this.across(x))},${fixed(this.up(y))}`);
      this.picture.add(`<polyline points="${places.join(" ")}" fill="${look.fill ?? "none"}"
        clip-path="url(#${this.clip})" ${stroke(look)}/>`);
    }

    // Many dots are one path: thousands stay quick.
    dots(points, { colour = "#222", size = 6, opacity = 1, name = "" } = {}) {
      const path = points.map(([x, y]) => `M${fixed(this.across(x))} ${fixed(this.up(y))}h0`);
      this.picture.add(`<path d="${path.join("")}" data-name="${name}" stroke="${colour}"
        stroke-width="${size}" stroke-linecap="round" opacity="${opacity}"
        clip-path="url(#${this.clip})"/>`);
    }

    bar(x0, x1, y0, y1, { colour = "#888", opacity = 1 } = {}) {
      const top = this.up(Math.max(y0, y1)), bottom = this.up(Math.min(y0, y1));
      this.picture.add(`<rect x="${fixed(this.across(x0))}" y="${fixed(top)}" fill="${colour}"
        width="${fixed(this.across(x1) - this.across(x0))}" height="${fixed(bottom - top)}"
        opacity="${opacity}" data-height="${y1 - y0}" clip-path="url(#${this.clip})"/>`);
    }

    words(x, y, text, look) {
      this.picture.words(this.across(x), this.up(y), text, look);
    }

    // A point to drag. `value` turns a place on the axes into one of the control.
    handle(control, x, y, value, colour) {
      this.picture.handle(control, this.across(x), this.up(y), (left, top) =>
        value(...this.place(left, top)), colour);
    }
  }

  class Picture {
    constructor(width, height) {
      Object.assign(this, { width, height, label, clips: 0, svg: [], entries: [], grids: [] });
      this.handles = new Map();
    }

    number = (value) => String(Number(value.toPrecision(6))).replace("-", "\u2212");
    add = (svg) => this.svg.push(svg);
    plot = (given) => new Plot(this, given);

    words(left, top, text, { anchor = "start", colour = "#222", size = 12.5 } = {}) {
      this.add(`<text x="${fixed(left)}" y="${fixed(top)}" text-anchor="${anchor}"
        style="fill: ${colour}; font-size: ${size}px">${escaped(text)}</text>`);
    }

    handle(control, left, top, value, colour = "#D55E00") {
      this.handles.set(control, { left, top, value, colour });
    }

    // Squares to point at. `value` turns a row and a column into a value of the control.
    grid(control, { left, top, rows, columns, size }, value) {
      this.add(`<rect class="grid" data-grid="${this.grids.length}" x="${left}" y="${top}"
        width="${columns * size}" height="${rows * size}" fill="transparent"/>`);
      this.grids.push({ control, left, top, rows, columns, size, value });
    }

    // What a line or a dot stands for.
    legend(text, { dot = false, ...look }) {
      const mark = dot
        ? `<circle cx="14" cy="6" r="5" fill="${look.colour}" opacity="${look.opacity ?? 1}"/>`
        : `<line x1="1" x2="27" y1="6" y2="6" ${stroke(look)}/>`;
      this.entries.push(`<span><svg aria-hidden="true">${mark}</svg>${escaped(text)}</span>`);
    }
  }

  const KINDS = {
    range: ({ id, min = 0, step = 1, value, max }) =>
      `<input type="range" id="${id}" min="${min}" max="${max}" step="${step}" value="${value}">
      <output for="${id}"></output>`,
    choice: ({ id, options, value = 0 }) => {
      const chosen = (place) => (place === value ? "selected" : "");
      const all = options.map(
        (one, place) => `<option value="${place}" ${chosen(place)}>${escaped(one)}</option>`,
      );
      return `<select class="wide" id="${id}">${all.join("")}</select>`;
    },
    text: ({ id, value }) =>
      `<input class="wide" type="text" id="${id}" value="${escaped(value)}" autocomplete="off">`,
  };
  const named = controls.filter(({ kind }) => kind !== "buttons");
  const rows = controls.map((control) => {
    if (control.kind === "buttons") {
      const buttons = '<button type="button"></button>'.repeat(control.press.length);
      return `<div class="buttons">${buttons}</div>`;
    }
    control.id = `${root.id}-${control.name}`;
    const name = `<label for="${control.id}">${escaped(control.label)}</label>`;
    return name + KINDS[control.kind ?? "range"](control);
  });
  root.setAttribute("role", "group");
  root.setAttribute("aria-label", label);
  root.innerHTML = `<div class="controls">${rows.join("")}</div><div class="legend"></div>
    <svg class="picture" role="img"><g></g><g></g></svg>
    <p class="reading" aria-live="polite"></p>`;
  const [svg, reading] = [".picture", ".reading"].map((one) => root.querySelector(one));
  const [drawn, grips] = svg.children;
  const presses = controls.flatMap((control) => control.press ?? []);
  const buttons = [...root.querySelectorAll("button")];
  const input = (name) => document.getElementById(`${root.id}-${name}`);
  let picture, held, quiet;

  // In order, since the end of one slider may depend on the values before it.
  function read() {
    const values = {};
    for (const { name, kind = "range", max, text } of named) {
      const one = input(name);
      if (typeof max === "function") one.max = max(values);
      values[name] = kind === "text" ? one.value : Number(one.value);
      if (kind !== "range") continue;
      one.nextElementSibling.textContent = text(values[name], values);
      one.setAttribute("aria-valuetext", one.nextElementSibling.textContent);
    }
    presses.forEach(({ text }, place) => (buttons[place].textContent = text(values)));
    return values;
  }

  // A button sets other controls, one after the other: one may change how far the next may go.
  function press({ change }) {
    for (const [name, value] of Object.entries(change(read()))) {
      input(name).value = value;
      read();
    }
    show();
  }

  function show() {
    const values = read(), width = Math.floor(root.clientWidth);
    if (!width) return;
    picture = new Picture(width, typeof height === "function" ? height(width, values) : height);
    const sentence = draw(picture, values);
    svg.setAttribute("viewBox", `0 0 ${width} ${picture.height}`);
    svg.style.height = `${picture.height}px`;
    svg.setAttribute("aria-label", picture.label);
    drawn.innerHTML = picture.svg.join("");
    root.querySelector(".legend").innerHTML = picture.entries.join("");
    showHandles();
    if (reading.textContent === sentence) return;
    // Spoken when the hand rests, not at each step of the way.
    reading.setAttribute("aria-busy", "true");
    reading.textContent = sentence;
    clearTimeout(quiet);
    quiet = setTimeout(() => reading.removeAttribute("aria-busy"), 400);
  }

  // These elements stay, since a finger may lie on one while all else is drawn anew.
  function showHandles() {
    for (const grip of [...grips.children])
      if (!picture.handles.has(grip.dataset.control)) grip.remove();
    for (const [control, { left, top, colour }] of picture.handles) {
      let grip = grips.querySelector(`[data-control="${control}"]`);
      if (!grip) {
        grip = document.createElementNS("http://www.w3.org/2000/svg", "g");
        grip.setAttribute("class", "handle");
        grip.dataset.control = control;
        grip.innerHTML = `<circle r="${HIT}" fill="transparent"/><circle class="ring" r="13"/>
          <circle r="8" fill="${colour}" stroke="#fff" stroke-width="2"/>`;
        grips.append(grip);
      }
      grip.setAttribute("transform", `translate(${fixed(left)} ${fixed(top)})`);
    }
  }

  function drag(event) {
    const { left, top } = svg.getBoundingClientRect(), one = input(held);
    one.value = picture.handles.get(held).value(event.clientX - left, event.clientY - top);
    show();
  }

  // The control of the square that is pointed at, once it has the value of that square.
  function point({ target, clientX, clientY }) {
    if (!target.matches(".grid")) return undefined;
    const { control, left, top, rows, columns, size, value } = picture.grids[target.dataset.grid];
    const box = svg.getBoundingClientRect(), one = input(control), before = one.value;
    const place = (at, count) => Math.max(0, Math.min(count - 1, Math.floor(at / size)));
    const row = place(clientY - box.top - top, rows);
    one.value = value(row, place(clientX - box.left - left, columns));
    if (one.value !== before) show();
    return one;
  }
  svg.addEventListener("pointerdown", (event) => {
    const grip = event.target.closest(".handle");
    const one = grip ? input(grip.dataset.control) : point(event);
    if (!one) return;
    event.preventDefault();
    one.focus({ preventScroll: true });
    if (!grip) return;
    held = grip.dataset.control;
    svg.setPointerCapture(event.pointerId);
  });
  svg.addEventListener("pointermove", (event) => (held ? drag : point)(event));
  for (const end of ["pointerup", "pointercancel"])
    svg.addEventListener(end, () => (held = undefined));
  for (const [event, current] of [["focusin", true], ["focusout", false]])
    root.addEventListener(event, ({ target }) =>
      grips
        .querySelector(`[data-control="${target.id.replace(`${root.id}-`, "")}"]`)
        ?.classList.toggle("current", current));
  buttons.forEach((one, place) => one.addEventListener("click", () => press(presses[place])));
  root.addEventListener("input", show);
  new ResizeObserver(show).observe(root);
  show();
}
