"use strict";
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
  onComplete: () => document.getElementById("servers")?.setAttribute("aria-label", "Server"), // which Swagger UI leaves unnamed
  presets: [SwaggerUIBundle.presets.apis],
});
