#!/usr/bin/env python3
"""Writes docs/papers.md: which paper is implemented where, from the docstrings of the source.

    scripts/list_papers.py            write the page
    scripts/list_papers.py --check    change nothing; exit code 1 if the page is out of date

A citation is `arXiv:1706.03762` or `Wilson 1927` in a docstring of a module, class or function, with authors in front
and a place (`eq. 1`, `section 3.1`) behind it where they are given. Authors and title stand in `WORKS`, so that a
docstring need not spell them out; a citation that is not there, one whose first author is another, and a work that
nothing cites any more are faults.
"""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
SOURCE, PAGE = ROOT / "src" / "groundup", ROOT / "docs" / "papers.md"
# In the order of the story; others follow by name, and a layer that cites nothing is left out.
STORY = ("corpus", "tokenization", "kernels", "batches", "models", "optim", "accounting")
STORY += ("training", "inference", "evaluation", "alignment")


class Work(NamedTuple):
    """A paper, or a page that stands for one; it is known by its arXiv number, or else by authors and year."""

    authors_year: str
    title: str
    arxiv: str = ""
    link: str = ""


WORKS = (
    Work("Wilson 1927", "Probable Inference, the Law of Succession, and Statistical Inference"),
    Work("Polyak 1964", "Some Methods of Speeding up the Convergence of Iteration Methods"),
    Work("Bloom 1970", "Space/Time Trade-offs in Hash Coding with Allowable Errors"),
    Work("Efron 1979", "Bootstrap Methods: Another Look at the Jackknife"),
    Work("Luby and Rackoff 1988", "How to Construct Pseudorandom Permutations from Pseudorandom Functions"),
    Work("Polyak and Juditsky 1992", "Acceleration of Stochastic Approximation by Averaging"),
    Work("Grefenstette 1995", "Comparing Two Language Identification Schemes"),
    Work("Kneser and Ney 1995", "Improved Backing-Off for M-gram Language Modeling"),
    Work("Broder 1997", "On the Resemblance and Containment of Documents"),
    Work("Hochreiter and Schmidhuber 1997", "Long Short-Term Memory"),
    Work("Chen and Goodman 1999", "An Empirical Study of Smoothing Techniques for Language Modeling"),
    Work("Gers et al. 2000", "Learning to Forget: Continual Prediction with LSTM"),
    Work(
        "Kasai et al. 2001",
        "Linear-Time Longest-Common-Prefix Computation in Suffix Arrays and Its Applications",
    ),
    Work("Black and Rogaway 2002", "Ciphers with Arbitrary Finite Domains"),
    Work("Morin and Bengio 2005", "Hierarchical Probabilistic Neural Network Language Model"),
    Work("Kirsch and Mitzenmacher 2006", "Less Hashing, Same Performance: Building a Better Bloom Filter"),
    Work("Nong, Zhang and Chan 2009", "Linear Suffix Array Construction by Almost Pure Induced-Sorting"),
    Work("Williams et al. 2009", "Roofline: An Insightful Visual Performance Model for Multicore Architectures"),
    Work("Duchi et al. 2011", "Adaptive Subgradient Methods for Online Learning and Stochastic Optimization"),
    Work("Jégou et al. 2011", "Product Quantization for Nearest Neighbor Search"),
    Work("Tieleman and Hinton 2012", "Lecture 6.5: RMSProp, Neural Networks for Machine Learning"),
    Work("Sutskever et al. 2013", "On the Importance of Initialization and Momentum in Deep Learning"),
    Work("Graves 2013", "Generating Sequences with Recurrent Neural Networks", arxiv="1308.0850"),
    Work("Steele, Lea and Flood 2014", "Fast Splittable Pseudorandom Number Generators"),
    Work("Srivastava et al. 2014", "Dropout: A Simple Way to Prevent Neural Networks from Overfitting"),
    Work("Zaremba et al. 2014", "Recurrent Neural Network Regularization", arxiv="1409.2329"),
    Work("Kingma and Ba 2015", "Adam: A Method for Stochastic Optimization", arxiv="1412.6980"),
    Work("Jozefowicz et al. 2015", "An Empirical Exploration of Recurrent Network Architectures"),
    Work("Hinton et al. 2015", "Distilling the Knowledge in a Neural Network", arxiv="1503.02531"),
    Work("Sennrich et al. 2016", "Neural Machine Translation of Rare Words with Subword Units", arxiv="1508.07909"),
    Work(
        "Wu et al. 2016",
        "Google's Neural Machine Translation System: Bridging the Gap between Human and Machine Translation",
        arxiv="1609.08144",
    ),
    Work("Ba et al. 2016", "Layer Normalization", arxiv="1607.06450"),
    Work("Hendrycks and Gimpel 2016", "Gaussian Error Linear Units (GELUs)", arxiv="1606.08415"),
    Work("Chen et al. 2016", "Training Deep Nets with Sublinear Memory Cost", arxiv="1604.06174"),
    Work("Joulin et al. 2016", "Bag of Tricks for Efficient Text Classification", arxiv="1607.01759"),
    Work("Joulin et al. 2016", "FastText.zip: Compressing Text Classification Models", arxiv="1612.03651"),
    Work("Loshchilov and Hutter 2017", "SGDR: Stochastic Gradient Descent with Warm Restarts", arxiv="1608.03983"),
    Work("Vaswani et al. 2017", "Attention Is All You Need", arxiv="1706.03762"),
    Work(
        "Shazeer et al. 2017",
        "Outrageously Large Neural Networks: The Sparsely-Gated Mixture-of-Experts Layer",
        arxiv="1701.06538",
    ),
    Work("Ramachandran et al. 2017", "Searching for Activation Functions", arxiv="1710.05941"),
    Work("Press and Wolf 2017", "Using the Output Embedding to Improve Language Models", arxiv="1608.05859"),
    Work("Dahlgaard et al. 2017", "Fast Similarity Sketching", arxiv="1704.04370"),
    Work("Shrivastava 2017", "Optimal Densification for Fast and Accurate Minwise Hashing"),
    Work("Micikevicius et al. 2018", "Mixed Precision Training", arxiv="1710.03740"),
    Work("Loshchilov and Hutter 2019", "Decoupled Weight Decay Regularization", arxiv="1711.05101"),
    Work("Radford et al. 2019", "Language Models are Unsupervised Multitask Learners"),
    Work(
        "Keskar et al. 2019",
        "CTRL: A Conditional Transformer Language Model for Controllable Generation",
        arxiv="1909.05858",
    ),
    Work("Zhang and Sennrich 2019", "Root Mean Square Layer Normalization", arxiv="1910.07467"),
    Work(
        "Wenzek et al. 2019",
        "CCNet: Extracting High Quality Monolingual Datasets from Web Crawl Data",
        arxiv="1911.00359",
    ),
    Work("Conneau et al. 2019", "Unsupervised Cross-lingual Representation Learning at Scale", arxiv="1911.02116"),
    Work("Mitchell et al. 2019", "Model Cards for Model Reporting", arxiv="1810.03993"),
    Work("Brown et al. 2020", "Language Models are Few-Shot Learners", arxiv="2005.14165"),
    Work("Kaplan et al. 2020", "Scaling Laws for Neural Language Models", arxiv="2001.08361"),
    Work(
        "Raffel et al. 2020",
        "Exploring the Limits of Transfer Learning with a Unified Text-to-Text Transformer",
        arxiv="1910.10683",
    ),
    Work("Schulman 2020", "Approximating KL Divergence", link="http://joschu.net/blog/kl-approx.html"),
    Work("Shazeer 2020", "GLU Variants Improve Transformer", arxiv="2002.05202"),
    Work("Provilkov et al. 2020", "BPE-Dropout: Simple and Effective Subword Regularization", arxiv="1910.13267"),
    Work(
        "Katharopoulos et al. 2020",
        "Transformers are RNNs: Fast Autoregressive Transformers with Linear Attention",
        arxiv="2006.16236",
    ),
    Work("Beltagy et al. 2020", "Longformer: The Long-Document Transformer", arxiv="2004.05150"),
    Work("Xiong et al. 2020", "On Layer Normalization in the Transformer Architecture", arxiv="2002.04745"),
    Work("Chen et al. 2021", "Evaluating Large Language Models Trained on Code", arxiv="2107.03374"),
    Work(
        "Dodge et al. 2021",
        "Documenting Large Webtext Corpora: A Case Study on the Colossal Clean Crawled Corpus",
        arxiv="2104.08758",
    ),
    Work(
        "Rae et al. 2021",
        "Scaling Language Models: Methods, Analysis & Insights from Training Gopher",
        arxiv="2112.11446",
    ),
    Work("Su et al. 2021", "RoFormer: Enhanced Transformer with Rotary Position Embedding", arxiv="2104.09864"),
    Work(
        "Rust et al. 2021",
        "How Good is Your Tokenizer? On the Monolingual Performance of Multilingual Language Models",
        arxiv="2012.15613",
    ),
    Work(
        "Fedus et al. 2021",
        "Switch Transformers: Scaling to Trillion Parameter Models with Simple and Efficient Sparsity",
        arxiv="2101.03961",
    ),
    Work("So et al. 2021", "Primer: Searching for Efficient Transformers for Language Modeling", arxiv="2109.08668"),
    Work("Patterson et al. 2021", "Carbon Emissions and Large Neural Network Training", arxiv="2104.10350"),
    Work("Lee et al. 2022", "Deduplicating Training Data Makes Language Models Better", arxiv="2107.06499"),
    Work("Chowdhery et al. 2022", "PaLM: Scaling Language Modeling with Pathways", arxiv="2204.02311"),
    Work(
        "Press et al. 2022",
        "Train Short, Test Long: Attention with Linear Biases Enables Input Length Extrapolation",
        arxiv="2108.12409",
    ),
    Work("Micikevicius et al. 2022", "FP8 Formats for Deep Learning", arxiv="2209.05433"),
    Work("Zhou et al. 2022", "Mixture-of-Experts with Expert Choice Routing", arxiv="2202.09368"),
    Work("Zoph et al. 2022", "ST-MoE: Designing Stable and Transferable Sparse Expert Models", arxiv="2202.08906"),
    Work("Gale et al. 2022", "MegaBlocks: Efficient Sparse Training with Mixture-of-Experts", arxiv="2211.15841"),
    Work(
        "Kaddour 2022",
        "Stop Wasting My Time! Saving Days of ImageNet and BERT Training with Latest Weight Averaging",
        arxiv="2209.14981",
    ),
    Work(
        "Komatsuzaki et al. 2022",
        "Sparse Upcycling: Training Mixture-of-Experts from Dense Checkpoints",
        arxiv="2212.05055",
    ),
    Work("Hoffmann et al. 2022", "Training Compute-Optimal Large Language Models", arxiv="2203.15556"),
    Work(
        "Korthikanti et al. 2022", "Reducing Activation Recomputation in Large Transformer Models", arxiv="2205.05198"
    ),
    Work("Yu et al. 2022", "Orca: A Distributed Serving System for Transformer-Based Generative Models"),
    Work(
        "Ainslie et al. 2023",
        "GQA: Training Generalized Multi-Query Transformer Models from Multi-Head Checkpoints",
        arxiv="2305.13245",
    ),
    Work("Touvron et al. 2023", "LLaMA: Open and Efficient Foundation Language Models", arxiv="2302.13971"),
    Work("Leviathan et al. 2023", "Fast Inference from Transformers via Speculative Decoding", arxiv="2211.17192"),
    Work(
        "Chen et al. 2023",
        "Accelerating Large Language Model Decoding with Speculative Sampling",
        arxiv="2302.01318",
    ),
    Work("Chen et al. 2023", "Symbolic Discovery of Optimization Algorithms", arxiv="2302.06675"),
    Work("Zouhar et al. 2023", "Tokenization and the Noiseless Channel", arxiv="2306.16842"),
    Work("Xie et al. 2023", "Data Selection for Language Models via Importance Resampling", arxiv="2302.03169"),
    Work(
        "Penedo et al. 2023",
        "The RefinedWeb Dataset for Falcon LLM: Outperforming Curated Corpora with Web Data, and Web Data Only",
        arxiv="2306.01116",
    ),
    Work(
        "Kazemnejad et al. 2023",
        "The Impact of Positional Encoding on Length Generalization in Transformers",
        arxiv="2305.19466",
    ),
    Work(
        "Chen et al. 2023",
        "Extending Context Window of Large Language Models via Positional Interpolation",
        arxiv="2306.15595",
    ),
    Work("Muennighoff et al. 2023", "Scaling Data-Constrained Language Models", arxiv="2305.16264"),
    Work(
        "Lin et al. 2023",
        "AWQ: Activation-aware Weight Quantization for On-Device LLM Compression and Acceleration",
        arxiv="2306.00978",
    ),
    Work("Peng et al. 2023", "YaRN: Efficient Context Window Extension of Large Language Models", arxiv="2309.00071"),
    Work("Dehghani et al. 2023", "Scaling Vision Transformers to 22 Billion Parameters", arxiv="2302.05442"),
    Work("Xiao et al. 2023", "Efficient Streaming Language Models with Attention Sinks", arxiv="2309.17453"),
    Work(
        "Kwon et al. 2023",
        "Efficient Memory Management for Large Language Model Serving with PagedAttention",
        arxiv="2309.06180",
    ),
    Work(
        "Yu et al. 2023", "MegaByte: Predicting Million-byte Sequences with Multiscale Transformers", arxiv="2305.07185"
    ),
    Work(
        "Dao 2023",
        "FlashAttention-2: Faster Attention with Better Parallelism and Work Partitioning",
        arxiv="2307.08691",
    ),
    Work(
        "Eldan and Li 2023",
        "TinyStories: How Small Can Language Models Be and Still Speak Coherent English?",
        arxiv="2305.07759",
    ),
    Work(
        "Hu et al. 2024",
        "MiniCPM: Unveiling the Potential of Small Language Models with Scalable Training Strategies",
        arxiv="2404.06395",
    ),
    Work(
        "Jordan et al. 2024",
        "Muon: An Optimizer for Hidden Layers in Neural Networks",
        link="https://kellerjordan.github.io/posts/muon/",
    ),
    Work(
        "Shao et al. 2024",
        "DeepSeekMath: Pushing the Limits of Mathematical Reasoning in Open Language Models",
        arxiv="2402.03300",
    ),
    Work(
        "Singh and Strouse 2024",
        "Tokenization Counts: The Impact of Tokenization on Arithmetic in Frontier LLMs",
        arxiv="2402.14903",
    ),
    Work(
        "Land and Bartolo 2024",
        "Fishing for Magikarp: Automatically Detecting Under-trained Tokens in Large Language Models",
        arxiv="2405.05417",
    ),
    Work(
        "Hägele et al. 2024",
        "Scaling Laws and Compute-Optimal Training Beyond Fixed Training Durations",
        arxiv="2405.18392",
    ),
    Work(
        "Vyas et al. 2024",
        "SOAP: Improving and Stabilizing Shampoo using Adam for Language Modeling",
        arxiv="2409.11321",
    ),
    Work("Grattafiori et al. 2024", "The Llama 3 Herd of Models", arxiv="2407.21783"),
    Work(
        "Penedo et al. 2024",
        "The FineWeb Datasets: Decanting the Web for the Finest Text Data at Scale",
        arxiv="2406.17557",
    ),
    Work(
        "Brandon et al. 2024",
        "Reducing Transformer Key-Value Cache Size with Cross-Layer Attention",
        arxiv="2405.12981",
    ),
    Work(
        "DeepSeek-AI 2024",
        "DeepSeek-V2: A Strong, Economical, and Efficient Mixture-of-Experts Language Model",
        arxiv="2405.04434",
    ),
    Work("DeepSeek-AI 2024", "DeepSeek-V3 Technical Report", arxiv="2412.19437"),
    Work(
        "Yang et al. 2024",
        "Parallelizing Linear Transformers with the Delta Rule over Sequence Length",
        arxiv="2406.06484",
    ),
    Work("Yang et al. 2024", "Gated Delta Networks: Improving Mamba2 with Delta Rule", arxiv="2412.06464"),
    Work(
        "Dao and Gu 2024",
        "Transformers are SSMs: Generalized Models and Efficient Algorithms Through Structured State Space Duality",
        arxiv="2405.21060",
    ),
    Work("Wang et al. 2024", "Auxiliary-Loss-Free Load Balancing Strategy for Mixture-of-Experts", arxiv="2408.15664"),
    Work("Gemma Team 2024", "Gemma 2: Improving Open Language Models at a Practical Size", arxiv="2408.00118"),
    Work("OLMo Team 2024", "2 OLMo 2 Furious", arxiv="2501.00656"),
    Work("Hsu et al. 2024", "Liger Kernel: Efficient Triton Kernels for LLM Training", arxiv="2410.10989"),
    Work(
        "Men et al. 2024",
        "ShortGPT: Layers in Large Language Models are More Redundant Than You Expect",
        arxiv="2403.03853",
    ),
    Work(
        "Muralidharan et al. 2024",
        "Compact Language Models via Pruning and Knowledge Distillation",
        arxiv="2407.14679",
    ),
    Work("Jiang et al. 2024", "Mixtral of Experts", arxiv="2401.04088"),
    Work("Slagle 2024", "SpaceByte: Towards Deleting Tokenization from Large Language Modeling", arxiv="2404.14408"),
    Work("Ding et al. 2024", "Fewer Truncations Improve Language Modeling", arxiv="2404.10830"),
    Work(
        "Agrawal et al. 2024",
        "Taming Throughput-Latency Tradeoff in LLM Inference with Sarathi-Serve",
        arxiv="2403.02310",
    ),
    Work(
        "Li et al. 2024",
        "DataComp-LM: In Search of the Next Generation of Training Sets for Language Models",
        arxiv="2406.11794",
    ),
    Work(
        "Bergsma et al. 2025",
        "Straight to Zero: Why Linearly Decaying the Learning Rate to Zero Works Best for LLMs",
        arxiv="2502.15938",
    ),
    Work(
        "Huang et al. 2025",
        "Over-Tokenized Transformer: Vocabulary is Generally Worth Scaling",
        arxiv="2501.16975",
    ),
    Work("Liu et al. 2025", "Understanding R1-Zero-Like Training: A Critical Perspective", arxiv="2503.20783"),
    Work("Yu et al. 2025", "DAPO: An Open-Source LLM Reinforcement Learning System at Scale", arxiv="2503.14476"),
    Work("Yang et al. 2025", "Qwen3 Technical Report", arxiv="2505.09388"),
    Work("Gemma Team 2025", "Gemma 3 Technical Report", arxiv="2503.19786"),
)
KNOWN = {work.arxiv or work.authors_year: work for work in WORKS}

_SURNAME = r"[A-Z][\w'’-]+"
_AUTHORS = rf"{_SURNAME}(?: et al\.|(?:, {_SURNAME})* (?:and|&) {_SURNAME})?"
_YEAR = r"(?:19|20)\d\d"
_NOT_NAMES = (
    "In Since Until From By See January February March April May June July August September October November December"
)
ARXIV = re.compile(r"arXiv:(\d{4}\.\d{4,5})")
BEFORE_ARXIV = re.compile(rf'\b({_AUTHORS})(?:,? \(?{_YEAR}\)?)?(?:, "[^"]*")?, $')
NAMED = re.compile(rf'\b(?!(?:{_NOT_NAMES.replace(" ", "|")})\b)({_AUTHORS}),? \(?({_YEAR})\b\)?(?:, "[^"]*")?')
PLACE = re.compile(r",? ((?:eqs?\.|sec\.|section|appendix|algorithm|table) [A-Z]?[\d.]*\w)")


class Citation(NamedTuple):
    """A key of `KNOWN`, the authors as written (empty where there are none), and the place in the work."""

    key: str
    authors: str
    place: str


class Use(NamedTuple):
    """A citation and where it stands; `owner` is the class or function, empty for the module."""

    citation: Citation
    path: Path
    owner: str


def main(arguments: list[str]) -> int:
    """Write or check the page; returns the exit code."""
    uses = [use for path in sorted(SOURCE.rglob("*.py")) for use in uses_in(path)]
    if wrong := faults(uses):
        sys.stderr.write("\n".join(wrong) + "\n")
        return 1
    page, shown = render(uses), PAGE.relative_to(ROOT)
    if "--check" in arguments:
        if not PAGE.exists() or PAGE.read_text(encoding="utf-8") != page:
            sys.stderr.write(f"{shown} is out of date; run scripts/list_papers.py.\n")
            return 1
    else:
        PAGE.write_text(page, encoding="utf-8")
        sys.stdout.write(f"{shown} lists {len({use.citation.key for use in uses})} papers.\n")
    return 0


def uses_in(path: Path) -> Iterator[Use]:
    """Every citation in a file's docstrings, in order; the same one twice in a docstring counts once."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), filename=str(path))):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            owner = "" if isinstance(node, ast.Module) else node.name
            for citation in dict.fromkeys(citations(ast.get_docstring(node) or "")):
                yield Use(citation, path, owner)


def citations(docstring: str) -> list[Citation]:
    """The citations in a docstring, in order. `Wilson 1927, arXiv:...` is one citation, of the arXiv number."""
    text = " ".join(docstring.split())
    found: dict[int, Citation] = {}
    taken: set[int] = set()
    for match in ARXIV.finditer(text):
        before = BEFORE_ARXIV.search(text, 0, match.start())
        authors = before[1] if before and (before[1].endswith(" et al.") or re.search(_YEAR, before[0])) else ""
        if before and authors:
            taken.add(before.start())
        found[match.start()] = Citation(match[1], authors, _place(text, match.end()))
    for match in NAMED.finditer(text):
        if match.start() not in taken:
            key = f"{match[1].replace('&', 'and')} {match[2]}"
            found[match.start()] = Citation(key, match[1], _place(text, match.end()))
    return [found[at] for at in sorted(found)]


def faults(uses: list[Use]) -> list[str]:
    """What keeps the page from being written, as sentences."""
    wrong = []
    for citation, path, _ in uses:
        work, where = KNOWN.get(citation.key), path.relative_to(SOURCE).as_posix()
        if work is None:
            remedy = "add authors and title to WORKS in scripts/list_papers.py."
            wrong.append(f"{where} cites {citation.key!r}, which is not known; {remedy}")
        elif _first_author(citation.authors) not in ("", _first_author(work.authors_year)):
            wrong.append(f"{where} names {citation.authors} for {citation.key}, but that is by {work.authors_year}.")
    unused = KNOWN.keys() - {use.citation.key for use in uses}
    return wrong + [f"Nothing cites {key!r} any more; remove it from WORKS." for key in sorted(unused)]


def render(uses: list[Use]) -> str:
    """The page: a table for each layer that cites something, its papers by year."""
    layers: dict[str, dict[str, list[str]]] = {}
    for use in uses:
        layer = use.path.relative_to(SOURCE).parts[0]
        layers.setdefault(layer, {}).setdefault(use.citation.key, []).append(_where(use))
    tables = []
    for layer in sorted(layers, key=lambda name: (STORY.index(name) if name in STORY else len(STORY), name)):
        papers = layers[layer]
        rows = [f"| {_shown(KNOWN[key])} | {'; '.join(papers[key])} |" for key in sorted(papers, key=_year_and_authors)]
        tables.append("\n".join([f"## {layer}", "", "| paper | where |", "|---|---|", *rows]))
    return "\n\n".join([HEADER, *tables]) + "\n"


HEADER = """# Papers

Which paper is used where, with the place in it where the code names one. Written by `scripts/list_papers.py` from the
docstrings of the source; change those, then run it again."""


def _place(text: str, end: int) -> str:
    match = PLACE.match(text, end)
    return match[1] if match else ""


def _first_author(authors: str) -> str:
    return re.split(r"[ ,]", authors, maxsplit=1)[0]


def _year_and_authors(key: str) -> tuple[str, str]:
    authors_year = KNOWN[key].authors_year
    return authors_year[-4:], authors_year


def _shown(work: Work) -> str:
    link = work.link or (f"https://arxiv.org/abs/{work.arxiv}" if work.arxiv else "")
    return f"{work.authors_year}, " + (f"[{work.title}]({link})" if link else f"*{work.title}*")


def _where(use: Use) -> str:
    name, path = use.path.relative_to(SOURCE).as_posix(), use.path.relative_to(ROOT).as_posix()
    owner = f" `{use.owner}`" if use.owner else ""
    place = f", {use.citation.place}" if use.citation.place else ""
    return f"[{name.split('/', 1)[-1]}](../{path}){owner}{place}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
