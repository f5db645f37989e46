// A key selector: of the credentials that may serve, the one with the fewest requests in flight.
//
// Names are those of `wit/policy.wit` in camel case. An error that is thrown where the WIT says `result` is its error.

export const keySelection = {
  configure(config) {
    const unknown = Object.keys(JSON.parse(config));
    if (unknown.length > 0) throw `this selector has no settings, and was given ${unknown.join(', ')}`;
  },

  select(_request, candidates) {
    const lessBusy = (a, b) => (b.inFlight < a.inFlight ? b : a);
    return candidates.reduce(lessBusy).handle;
  },
};
