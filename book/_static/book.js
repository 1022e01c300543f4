// jupyterquiz puts a label before its field and does not say that they belong together.
document.querySelectorAll(".InpLabel").forEach((label) => (label.htmlFor = label.nextElementSibling.id));
// Nor that what it writes below an answer is news.
document.querySelectorAll(".Feedback").forEach((said) => said.setAttribute("aria-live", "polite"));
