// A frame in which a reader chooses a picture: one of ours, a file, one dropped in, or the camera's.
// `use` of the class that extends it gets what can be drawn, its size and its name.
class PrunekitChooser {
  static CHOICE = `<div>
      <div class="pictures" role="group" aria-label="Pictures to choose from"></div>
      <p class="own">
        <label class="button">Open a picture<input type="file" accept="image/*"></label>
        <button type="button" class="camera">Use the camera</button>
      </p>
      <p class="hint">Or drop a picture anywhere in this frame. It stays on your device.</p>
    </div>`;

  constructor(root, body, pictures) {
    this.root = root;
    root.innerHTML = body;
    this.find("input[type=file]").addEventListener("change", (e) => this.open(e.target.files[0]));
    this.find(".camera").addEventListener("click", () => this.act(() => this.camera()));
    root.addEventListener("dragover", (e) => e.preventDefault());
    root.addEventListener("drop", (e) => {
      e.preventDefault();
      this.open(e.dataTransfer.files[0]);
    });
    pictures.forEach((picture) => this.offer(picture));
  }

  find = (selector) => this.root.querySelector(selector);

  async act(doing) {
    try {
      this.find(".message").textContent = "";
      await doing();
    } catch (error) {
      this.find(".message").textContent = error.message;
    }
  }

  offer({ name, credit, source }) {
    const button = document.createElement("button");
    button.type = "button";
    button.innerHTML = `<img src="${source}" alt="${name}" title="${name}. ${credit}">`;
    button.addEventListener("click", () => this.act(() => this.decode(source, name)));
    this.find(".pictures").append(button);
  }

  async decode(address, name) {
    const image = new Image();
    image.src = address;
    await image.decode();
    await this.use(image, image.naturalWidth, image.naturalHeight, name);
  }

  open(file) {
    if (!file) return;
    this.act(async () => {
      const address = URL.createObjectURL(file);
      try {
        await this.decode(address, file.name);
      } catch (error) {
        if (error.name !== "EncodingError") throw error;
        throw new Error(`${file.name} is no picture that this browser can read`);
      } finally {
        URL.revokeObjectURL(address);
      }
    });
  }

  async camera() {
    if (this.stream) {
      const video = this.video, taken = document.createElement("canvas");
      [taken.width, taken.height] = [video.videoWidth, video.videoHeight];
      taken.getContext("2d").drawImage(video, 0, 0);
      this.stream.getTracks().forEach((track) => track.stop());
      video.remove();
      this.stream = null;
      this.find(".camera").textContent = "Use the camera";
      return this.use(taken, taken.width, taken.height, "the camera's picture");
    }
    if (!navigator.mediaDevices)
      throw new Error("This browser gives this page no camera: open a picture instead");
    try {
      const video = { facingMode: "environment" };
      this.stream = await navigator.mediaDevices.getUserMedia({ video });
    } catch (error) {
      throw new Error(`The camera cannot be used (${error.name}): open a picture instead`);
    }
    this.video = Object.assign(document.createElement("video"), { muted: true, playsInline: true });
    this.video.srcObject = this.stream;
    this.find(".own").after(this.video);
    await this.video.play();
    this.find(".camera").textContent = "Take the picture";
  }

  // A row a network to the clipboard: what this device took.
  async copyTimes(networks, status) {
    const device = { browser: navigator.userAgent, cores: navigator.hardwareConcurrency ?? null };
    const text = JSON.stringify({ device, networks });
    this.root.dataset.row = text;
    try {
      await navigator.clipboard.writeText(text);
      status.textContent = "Copied.";
    } catch (error) {
      // Without permission, or without HTTPS, there is no clipboard: the reader copies by hand.
      status.innerHTML = '<textarea readonly rows="3" aria-label="Times as JSON"></textarea>';
      status.firstChild.value = text;
      status.firstChild.select();
    }
  }
}

const prunekitShown = {
  percent: (share, digits = 1) => `${(100 * share).toFixed(digits)} %`,
  millions: (count) => `${(count / 1e6).toFixed(1)} million`,
  megabytes: (count) => `${(count / 1e6).toFixed(2)} MB`,
};
