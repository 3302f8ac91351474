package main

import "testing"

// The figures at these sizes mean nothing, so that the test asserts none.
func TestEveryMeasurementRuns(t *testing.T) {
	if err := run(t.Context(), options{quick: true}); err != nil {
		t.Fatal(err)
	}
}

func TestRunRejectsUnknownMeasurement(t *testing.T) {
	if err := run(t.Context(), options{only: "page,teleport"}); err == nil {
		t.Error("got no error")
	}
}

func TestMedian(t *testing.T) {
	for want, values := range map[float64][]float64{0: nil, 2: {9, 1, 2}, 2.5: {1, 2, 3, 100}} {
		if got := median(values); got != want {
			t.Errorf("median(%v) = %v, want %v", values, got, want)
		}
	}
}
