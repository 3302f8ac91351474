package main

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
)

// verdict is what the doctor thinks of a finding.
type verdict string

const (
	fine  verdict = "ok"
	wrong verdict = "WRONG"
	noted verdict = "note" // worth knowing, or could not be judged
)

// finding is what one check found.
type finding struct {
	Verdict verdict `json:"verdict"`
	About   string  `json:"about"`
	Found   string  `json:"found"`
	Fix     string  `json:"fix,omitempty"` // of what is wrong: how to mend it
}

func well(all []finding) bool {
	return !slices.ContainsFunc(all, func(f finding) bool { return f.Verdict == wrong })
}

func printText(to io.Writer, all []finding) error {
	for _, f := range all {
		if _, err := fmt.Fprintf(to, "%-5s %s: %s\n", f.Verdict, f.About, f.Found); err != nil {
			return err
		}
		if f.Fix != "" {
			if _, err := fmt.Fprintf(to, "      %s\n", f.Fix); err != nil {
				return err
			}
		}
	}
	return nil
}

func printJSON(to io.Writer, all []finding) error {
	encoder := json.NewEncoder(to)
	encoder.SetIndent("", "  ")
	return encoder.Encode(all)
}
