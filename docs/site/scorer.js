/* How the search ranks what it finds: as Sphinx does, but decisions and old releases come after the pages that are of use. */
var Scorer = {
  score: ([page, , , , score]) => (/decisions\/|CHANGELOG$/.test(page) ? score - 50 : score),
  objNameMatch: 11,
  objPartialMatch: 6,
  objPrio: { 0: 15, 1: 5, 2: -5 },
  objPrioDefault: 0,
  title: 15,
  partialTitle: 7,
  term: 5,
  partialTerm: 2,
}
