// jupyter-widgets' labels ask for MathJax 2; the pages have MathJax 3.
if (window.MathJax?.startup) {
  window.MathJax.Hub = {
    Queue: ([, , element]) =>
      window.MathJax.startup.promise.then(() => window.MathJax.typesetPromise([element])),
  };
}

// jupyterquiz puts a label before its field and does not say that they belong together.
document.querySelectorAll(".InpLabel").forEach((label) => (label.htmlFor = label.nextElementSibling.id));
