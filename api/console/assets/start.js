"use strict";
// Swagger UI leaves the list of servers without a name, whenever it makes it.
new MutationObserver(() => document.getElementById("servers")?.setAttribute("aria-label", "Server"))
  .observe(document.getElementById("swagger-ui"), { childList: true, subtree: true });
// Without a validatorUrl of null, Swagger UI would show the page's address to a
// validator elsewhere.
window.ui = SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  displayRequestDuration: true,
  tryItOutEnabled: true,
  defaultModelsExpandDepth: 0,
  validatorUrl: null,
  presets: [SwaggerUIBundle.presets.apis],
});
