"use strict";

SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  // Do not send the document to the validator of swagger.io.
  validatorUrl: null,
  // Execute is available at once, with the example as the body.
  tryItOutEnabled: true,
  displayRequestDuration: true,
  // The list of schemas is long, so it is collapsed.
  defaultModelsExpandDepth: 0,
});
