// Read by require.js: widgets find their fonts among the site's own files.
window.require = { baseUrl: document.documentElement.dataset.content_root + "_static" };
