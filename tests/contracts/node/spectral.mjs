// The rules for the OpenAPI and AsyncAPI documents: Spectral's own, OWASP's and Azure's, with each waiver's reason.
import azure from "@microsoft.azure/openapi-validator-rulesets/dist/spectral/az-dataplane.js";
import owasp from "@stoplight/spectral-owasp-ruleset";
import { asyncapi, oas } from "@stoplight/spectral-rulesets";

const MEMBERS = ["description", "message", "severity", "given", "then", "resolved", "formats"];

/** Azure's ruleset with the members of rules that Spectral knows; its own tools have more. */
function readable({ extends: parents = [], rules }) {
  const known = (rule) => Object.fromEntries(Object.entries(rule).filter(([name]) => MEMBERS.includes(name)));
  return {
    extends: parents.map(readable),
    rules: Object.fromEntries(Object.entries(rules).map(([name, rule]) => [name, known(rule)])),
  };
}

const OFF = {
  // Whoever installs the app runs it, and is not known here.
  "info-contact": "off",
  "asyncapi-info-contact": "off",
  // Generators of code do not read 3.1 yet: Modelina makes one empty class of it.
  "asyncapi-latest-version": "off",
  // For services of Azure itself: versions by date, and operations named after their resource provider.
  VersionConvention: "off",
  OperationId: "off",
  // The health, this description and the schemas are for anyone.
  "owasp:api2:2023-read-restricted": "off",
  "owasp:api8:2023-define-error-responses-401": "off",
  // Calls that take nothing that could be invalid.
  "owasp:api8:2023-define-error-validation": "off",
  // The limits of an event's fields are Partner Center's, which documents none; a released schema may not narrow.
  // What comes in is limited as a whole: 256 KiB a body, 1,000 IDs, GUIDs by a pattern.
  "owasp:api4:2023-array-limit": "off",
  "owasp:api4:2023-integer-format": "off",
  "owasp:api4:2023-integer-limit": "off",
  "owasp:api4:2023-string-limit": "off",
  "owasp:api4:2023-string-restricted": "off",
  // The app limits no rates: Partner Center does, and the answer is then 503 with Retry-After. The host's own 429 and
  // 500 are the `default` response.
  "owasp:api4:2023-rate-limit": "off",
  "owasp:api4:2023-rate-limit-responses-429": "off",
  "owasp:api8:2023-define-error-responses-500": "off",
  // No browser calls it: the function key would be in the page.
  "owasp:api8:2023-define-cors-origin": "off",
  // The second server is this machine.
  "owasp:api8:2023-no-server-http": "off",
};

export default { extends: [oas, asyncapi, owasp, readable(azure.default ?? azure)], rules: OFF };
