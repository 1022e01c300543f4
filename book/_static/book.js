// jupyterquiz puts a label before its field and does not say that they belong together.
document.querySelectorAll(".InpLabel").forEach((label) => (label.htmlFor = label.nextElementSibling.id));
