// Reads {tables: {name: schema}, queries: {name: text}} from stdin, and writes what Microsoft's Kusto language service says
// of each query: {name: {diagnostics: [text], columns: [name]}}.
require("@kusto/language-service-next/bridge.js");
require("@kusto/language-service-next/Kusto.Language.Bridge.js");

const { GlobalState, KustoCode, Symbols } = Kusto.Language;
const input = JSON.parse(require("fs").readFileSync(0, "utf8"));
const tables = Object.entries(input.tables).map(([name, schema]) => new Symbols.TableSymbol.$ctor7(name, schema, null));
const globals = GlobalState.Default.WithDatabase(new Symbols.DatabaseSymbol.$ctor1("workspace", tables));

const items = (list) => Array.from({ length: list.Count }, (_, index) => list.getItem(index));
const results = {};
for (const [name, text] of Object.entries(input.queries)) {
  const code = KustoCode.ParseAndAnalyze(text, globals);
  results[name] = {
    diagnostics: items(code.GetDiagnostics()).map((one) => `${one.Code} at ${one.Start}: ${one.Message}`),
    columns: code.ResultType?.Columns ? items(code.ResultType.Columns).map((column) => column.Name) : [],
  };
}
console.log(JSON.stringify(results));
