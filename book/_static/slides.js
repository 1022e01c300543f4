// Formulas stand in backticks, so that Markdown leaves their underscores alone.
Reveal.initialize({
  hash: true,
  center: false,
  margin: 0.06,
  width: 1200,
  height: 760,
  pdfSeparateFragments: false,
  plugins: [RevealMarkdown, RevealMath.MathJax3, RevealNotes],
  mathjax3: {
    mathjax: "../_static/mathjax/tex-svg.js",
    options: { skipHtmlTags: ["script", "noscript", "style", "textarea", "pre"] },
  },
});
