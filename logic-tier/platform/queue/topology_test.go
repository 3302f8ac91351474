package queue_test

import (
	"regexp"
	"testing"

	"techtalks.example/logic-tier/platform/queue"
)

func TestTopicExpression_MatchesWholeWords(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		pattern         string
		matches, misses []string
	}{
		{"talk.published", []string{"talk.published"}, []string{"talk", "talk.published.now", "talkxpublished"}},
		{"talk.*", []string{"talk.published", "talk.withdrawn"}, []string{"talk", "talk.a.b", "atalk.b"}},
		{"talk.#", []string{"talk", "talk.published", "talk.a.b"}, []string{"talks", "a.talk"}},
		{"#.error", []string{"error", "a.error", "a.b.error"}, []string{"a.errors", "xerror"}},
		{"a.#.z", []string{"a.z", "a.b.z", "a.b.c.z"}, []string{"a", "az", "a.b"}},
		{"#", []string{"", "a", "a.b"}, nil},
		{"", []string{""}, []string{"a"}},
		{"*.b.*", []string{"a.b.c"}, []string{"b", "a.b", "a.b.c.d"}},
		{"#.#", []string{"a", "a.b"}, nil},
	} {
		expression, err := queue.TopicExpression(c.pattern)
		if err != nil {
			t.Fatal(err)
		}
		compiled := regexp.MustCompile(expression)
		for _, key := range c.matches {
			if !compiled.MatchString(key) {
				t.Errorf("%q (%s) does not match %q", c.pattern, expression, key)
			}
		}
		for _, key := range c.misses {
			if compiled.MatchString(key) {
				t.Errorf("%q (%s) matches %q", c.pattern, expression, key)
			}
		}
	}
}

func TestTopicExpression_RejectsInvalidPatterns(t *testing.T) {
	t.Parallel()
	for _, pattern := range []string{"a..b", "a b", "talk*", "a.(b)"} {
		if _, err := queue.TopicExpression(pattern); err == nil {
			t.Errorf("TopicExpression(%q) = nil error, want an error", pattern)
		}
	}
}
