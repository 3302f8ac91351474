package main

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// generatedTalks is the size of a generated catalogue, that of pyvideo.
const generatedTalks = 16_000

// talksPerEvent is the number of talks of each generated event.
const talksPerEvent = 40

// openCatalogue returns the path of the catalogue, which it generates if none was given.
func (b *bench) openCatalogue() (string, error) {
	if b.catalogue != "" {
		_, err := os.Stat(b.catalogue)
		return b.catalogue, err
	}
	generated := filepath.Join(b.folder, "catalogue")
	return generated, generateCatalogue(generated, b.size(generatedTalks, 500))
}

// generateCatalogue writes a catalogue of random talks in the layout of pyvideo. It is
// deterministic for a given number of talks.
func generateCatalogue(folder string, talks int) error {
	random := rand.New(rand.NewPCG(1, uint64(talks)))
	words := vocabulary(random)
	for n := range talks {
		event := filepath.Join(folder, fmt.Sprintf("event-%d", n/talksPerEvent))
		if n%talksPerEvent == 0 {
			if err := os.MkdirAll(filepath.Join(event, "videos"), 0o755); err != nil {
				return err
			}
			if err := writeJSON(filepath.Join(event, "category.json"), map[string]any{"title": fmt.Sprintf("Generated event %d", n/talksPerEvent)}); err != nil {
				return err
			}
		}
		if err := writeJSON(filepath.Join(event, "videos", fmt.Sprintf("talk-%d.json", n)), map[string]any{
			"title":       fmt.Sprintf("%s %d", sentence(random, words, 4+random.IntN(5)), n),
			"speakers":    []string{sentence(random, words, 2)},
			"language":    []string{"eng", "spa", "deu", "fra"}[random.IntN(4)],
			"tags":        []string{words[random.IntN(200)], words[random.IntN(200)]},
			"description": sentence(random, words, 40+random.IntN(160)),
			"recorded":    time.Date(2010, 1, 1+random.IntN(5000), 0, 0, 0, 0, time.UTC).Format(time.DateOnly),
			"duration":    600 + random.IntN(3000),
			"videos":      []map[string]string{{"type": "youtube", "url": fmt.Sprintf("https://www.youtube.com/watch?v=%011d", n)}},
		}); err != nil {
			return err
		}
	}
	return nil
}

// vocabulary returns random words, the most common first.
func vocabulary(random *rand.Rand) []string {
	syllables := strings.Fields("da ta ba se py thon go lang ser ver queue mes sage pat tern test ing de sign sys tem net work type safe")
	words := make([]string, 5000)
	for i := range words {
		var w strings.Builder
		for range 2 + random.IntN(3) {
			w.WriteString(syllables[random.IntN(len(syllables))])
		}
		words[i] = w.String()
	}
	return words
}

// sentence returns n words with a Zipf distribution, as in natural language.
func sentence(random *rand.Rand, words []string, n int) string {
	zipf := rand.NewZipf(random, 1.1, 4, uint64(len(words)-1))
	picked := make([]string, n)
	for i := range picked {
		picked[i] = words[zipf.Uint64()]
	}
	return strings.Join(picked, " ")
}

func writeJSON(path string, value any) error {
	text, err := json.Marshal(value)
	if err != nil {
		return err
	}
	return os.WriteFile(path, text, 0o644)
}
