// What the reader sees of the detectors, and does with them. Given what lab.js holds; loaded on the click.
function prunekitPeopleView({ networks, people, detectors, order }) {
  const { percent, millions, megabytes } = prunekitShown;
  const WIDTH = 360, LOOKED_AT = 0.05, PASSES = 5;

  const PANEL = ({ name, title }) => `<section class="network" data-network="${name}">
    <h3>${title}</h3>
    <canvas class="seen" role="img"></canvas>
    <p class="answer" aria-live="polite"></p>
    <dl>
      <dt>Weights</dt><dd data-fact="bytes"></dd>
      <dt>Multiply-adds</dt><dd data-fact="macs"></dd>
      <dt>Time here</dt><dd data-fact="time"></dd>
      <dt>Average precision</dt><dd data-fact="precision"></dd>
    </dl></section>`;
  const SLIDER = (kind, title, from) => `<label class="removed">${title}
    <input type="range" name="${kind}" min="${from}" max="100" step="5"><output></output></label>`;
  const BODY = `<div class="choice">${PrunekitChooser.CHOICE}</div>
    ${SLIDER("size", "Size of the picture in the frame", 30)}
    ${SLIDER("least", "Draw boxes of at least", 10)}
    <div class="networks">${detectors.map(PANEL).join("")}</div>
    <p class="times"><button type="button" class="copy">Copy my times as JSON</button>
      <span role="status"></span></p>
    <p class="message" role="alert"></p>`;

  return class People extends PrunekitChooser {
    constructor(root) {
      super(root, BODY, people);
      this.times = {};
      this.found = {};
      this.slider = (name) => this.find(`input[name=${name}]`);
      this.set("least", 50);
      this.set("size", 100);
      this.slider("size").addEventListener("input", () => this.act(() => this.detect()));
      this.slider("least").addEventListener("input", () => {
        this.set("least", this.slider("least").value);
        this.show();
      });
      this.find(".copy").addEventListener("click", () => this.act(() => this.copy()));
    }

    set(name, value) {
      const slider = this.slider(name);
      slider.value = value;
      slider.nextElementSibling.textContent = `${slider.value} %`;
      slider.setAttribute("aria-valuetext", `${slider.value} %`);
    }

    async use(source, width, height, name) {
      const side = Math.max(width, height), scale = Math.min(1, 1024 / side);
      const kept = document.createElement("canvas");
      [kept.width, kept.height] = [Math.round(width * scale), Math.round(height * scale)];
      kept.getContext("2d").drawImage(source, 0, 0, kept.width, kept.height);
      this.picture = { canvas: kept, name };
      this.set("size", people.find((one) => one.name === name)?.size ?? 100);
      await this.detect();
    }

    // The picture as the detectors get it: as large as the slider says, on the grey of their training.
    framed(width, height) {
      const canvas = document.createElement("canvas"), share = this.slider("size").value / 100;
      [canvas.width, canvas.height] = [width, height];
      const context = canvas.getContext("2d", { willReadFrequently: true });
      context.imageSmoothingQuality = "high";
      context.fillStyle = "rgb(128, 128, 128)";
      context.fillRect(0, 0, width, height);
      const [w, h] = [width * share, height * share];
      context.drawImage(this.picture.canvas, (width - w) / 2, (height - h) / 2, w, h);
      return canvas;
    }

    // Answers come while a slider still moves: only the last one asked for is shown.
    async detect() {
      const turn = (this.turn = (this.turn ?? 0) + 1);
      this.set("size", this.slider("size").value);
      const { size } = networks[detectors[0].name];
      const { data: pixels } = this.framed(size, size).getContext("2d").getImageData(0, 0, size, size);
      const found = {};
      for (const { name } of detectors) {
        found[name] = await order("detect", { name, pixels, least: LOOKED_AT });
        if (turn !== this.turn) return;
      }
      this.found = found;
      this.show();
      this.root.dataset.turn = turn; // so that a test knows which picture the boxes are of
      for (const { name } of detectors) await this.time(name);
      if (turn === this.turn) this.show();
    }

    async time(name) {
      this.times[name] ??= (await order("time", { name, passes: PASSES })).milliseconds;
    }

    show() {
      const least = this.slider("least").value / 100;
      for (const facts of detectors) {
        const panel = this.find(`[data-network=${facts.name}]`);
        const found = this.found[facts.name] ?? [];
        const drawn = found.filter(({ score }) => score >= least);
        const likeliest = Math.max(0, ...found.map(({ score }) => score));
        this.draw(panel.querySelector("canvas"), drawn);
        const count = drawn.length === 1 ? "1 person" : `${drawn.length || "no"} people`;
        const near = found.length && !drawn.length ? `, at most ${percent(likeliest, 0)} sure of one` : "";
        panel.querySelector(".answer").textContent = count + near;
        panel.dataset.found = JSON.stringify(found);
        const fact = (name, text) => (panel.querySelector(`[data-fact=${name}]`).textContent = text);
        fact("bytes", megabytes(facts.bytes));
        fact("macs", millions(facts.macs));
        fact("precision", percent(facts.test_average_precision));
        const time = this.times[facts.name];
        fact("time", time ? `${time.toFixed(0)} ms` : "measuring …");
      }
    }

    draw(canvas, drawn) {
      const { canvas: picture, name } = this.picture;
      const height = Math.round((WIDTH * picture.height) / picture.width);
      [canvas.width, canvas.height] = [WIDTH, height];
      const context = canvas.getContext("2d");
      context.drawImage(this.framed(WIDTH, height), 0, 0);
      context.font = "bold 15px sans-serif";
      for (const { score, box: [left, top, right, bottom] } of drawn) {
        const place = [left * WIDTH, top * height, (right - left) * WIDTH, (bottom - top) * height];
        // Light on dark: seen on any picture.
        for (const [width, colour] of [[6, "#000"], [3, "#ffb000"]]) {
          context.lineWidth = width;
          context.strokeStyle = colour;
          context.strokeRect(...place);
        }
        const text = percent(score, 0), y = Math.max(place[1], 20);
        context.fillStyle = "#000";
        context.fillRect(place[0], y - 20, context.measureText(text).width + 8, 20);
        context.fillStyle = "#ffb000";
        context.fillText(text, place[0] + 4, y - 5);
      }
      const boxes = drawn.map(({ score }) => percent(score, 0)).join(", ");
      canvas.setAttribute("aria-label", `${name}: ${boxes ? `people at ${boxes}` : "no box"}`);
    }

    async copy() {
      const status = this.find(".times span");
      status.textContent = "Measuring …";
      for (const { name } of detectors) await this.time(name);
      const rows = detectors.map(({ name, macs }) => ({
        name,
        macs,
        milliseconds: Math.round(this.times[name] * 10) / 10,
      }));
      await this.copyTimes(rows, status);
    }
  };
}
