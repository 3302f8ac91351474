package main

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
)

// verdict is the severity of a finding.
type verdict string

const (
	verdictOK    verdict = "ok"
	verdictWrong verdict = "WRONG"
	verdictNote  verdict = "note" // for information, or not checked
)

// finding is the result of one check.
type finding struct {
	Verdict verdict `json:"verdict"`
	About   string  `json:"about"`
	Found   string  `json:"found"`
	Fix     string  `json:"fix,omitempty"` // if Verdict is WRONG
}

// allOK reports whether no finding is WRONG.
func allOK(findings []finding) bool {
	return !slices.ContainsFunc(findings, func(f finding) bool { return f.Verdict == verdictWrong })
}

func printText(w io.Writer, findings []finding) error {
	for _, f := range findings {
		if _, err := fmt.Fprintf(w, "%-5s %s: %s\n", f.Verdict, f.About, f.Found); err != nil {
			return err
		}
		if f.Fix != "" {
			if _, err := fmt.Fprintf(w, "      %s\n", f.Fix); err != nil {
				return err
			}
		}
	}
	return nil
}

func printJSON(w io.Writer, findings []finding) error {
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	return encoder.Encode(findings)
}
