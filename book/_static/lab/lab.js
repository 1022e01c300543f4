// The pruning lab: networks, whole and cut, run in the page. No kernel, no network, no library.
const prunekitLab = (() => {
  const HERE = document.currentScript.src.replace(/[^/]*$/, "");
  const lab = { networks: {}, network, order };
  const KINDS = {
    classes: {
      scripts: ["view.js", "pictures.js", "networks.js"],
      first: () => [0],
      view: () => prunekitLabView,
    },
    people: {
      scripts: ["people_view.js", "people.js", "detectors.js"],
      first: () => lab.detectors.map(({ name }) => name),
      view: () => prunekitPeopleView,
    },
  };
  const loading = {}, fetched = {};
  let worker = null, asked = 0;
  const waiting = new Map();

  // A script and not a request: a page opened from a disk may load nothing else.
  function load(name) {
    return (loading[name] ??= new Promise((done, failed) => {
      const script = document.createElement("script");
      script.src = HERE + name;
      script.onload = done;
      script.onerror = () => {
        delete loading[name];
        failed(new Error(`${name} could not be loaded: is the page's folder complete?`));
      };
      document.head.append(script);
    }));
  }

  function order(name, given) {
    return new Promise((done, failed) => {
      waiting.set(++asked, { done, failed });
      worker.postMessage({ id: asked, order: name, given });
    });
  }

  async function start(scripts) {
    await Promise.all(["engine.js", "chooser.js"].map(load));
    await Promise.all(scripts.map(load));
    if (worker) return;
    const program = new Blob([`(${prunekitEngine})()`], { type: "text/javascript" });
    worker = new Worker(URL.createObjectURL(program));
    worker.onmessage = ({ data: { id, answer, error } }) => {
      const { done, failed } = waiting.get(id);
      waiting.delete(id);
      if (error) failed(new Error(error));
      else done(answer);
    };
  }

  function network(name) {
    const take = async () => {
      await order("take", { network: lab.networks[name] });
      delete lab.networks[name].weights; // the worker has them
    };
    return (fetched[name] ??= load(`network-${name}.js`).then(take).catch((error) => {
      delete fetched[name]; // so that one may try again
      throw error;
    }));
  }

  // Before the click the frame holds a button; in a browser that cannot read this file, its own text.
  function offer(root) {
    if (!window.Worker) return;
    const { scripts, first, view } = KINDS[root.dataset.lab];
    const button = document.createElement("button");
    button.type = "button";
    button.className = "start";
    button.textContent = "Start the lab";
    const note = document.createElement("p");
    note.textContent = root.dataset.note;
    root.replaceChildren(button, note);
    button.addEventListener("click", async () => {
      button.disabled = true;
      button.textContent = "Loading …";
      try {
        await start(scripts);
        await Promise.all(first().map(network));
        new (view()(lab))(root).find(".pictures button").click();
      } catch (error) {
        button.disabled = false;
        button.textContent = "Try again";
        note.textContent = error.message;
      }
    });
  }

  document.addEventListener("DOMContentLoaded", () => document.querySelectorAll(".prunekit-lab").forEach(offer));
  const keep = (name) => (rows) => void (lab[name] = rows);
  return {
    network: (content) => void (lab.networks[content.name] = content),
    ...Object.fromEntries(["pictures", "recorded", "people", "detectors"].map((n) => [n, keep(n)])),
  };
})();
