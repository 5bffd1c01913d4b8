package console

import "net/url"

// notice says what change led to this page: a change answers with a redirect, so that a reload
// repeats nothing. Only known words are shown.
func notice(query url.Values) string {
	switch query.Get("done") {
	case "fixed":
		return "The row was loaded with the corrected values."
	case "conflict":
		return "The corrected row has the id of a stored row with other values: decide the conflict below."
	case "kept":
		return "The stored row stays."
	case "taken":
		return "This row has taken the stored row's place."
	case "discarded":
		return "The row was closed without loading it."
	case "reverted":
		return "The file was taken back out."
	default:
		return ""
	}
}
