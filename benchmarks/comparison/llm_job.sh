# simonw/llm: it asks and logs; the comparison with what is expected is yours (jq here).
schema='name, price float, currency'
for model in gpt-4o-mini gpt-4o; do
  for n in 1 2 3; do
    llm -m "$model" --no-stream --schema "$schema" "Extract the product: Lamp $n costs $n.50 EUR." |
      python3 -c "import json, sys; found = json.load(sys.stdin); print('$model', $n, {k: found.get(k) == v for k, v in
        {'name': 'Lamp $n', 'price': $n.5, 'currency': 'EUR'}.items()})"
  done
done
