package main

import "testing"

// Every measurement can be made. What it measures at these sizes means nothing,
// and nothing is asserted of it.
func TestEveryMeasurementCanBeMade(t *testing.T) {
	if err := run(t.Context(), options{quick: true}); err != nil {
		t.Fatal(err)
	}
}

func TestAMeasurementThatIsNotThereIsNamed(t *testing.T) {
	if err := run(t.Context(), options{only: "page,teleport"}); err == nil {
		t.Error("it was measured")
	}
}

func TestMedian(t *testing.T) {
	for want, values := range map[float64][]float64{0: nil, 2: {9, 1, 2}, 2.5: {1, 2, 3, 100}} {
		if got := median(values); got != want {
			t.Errorf("median of %v is %v, want %v", values, got, want)
		}
	}
}
