import pytest
from hypothesis import given
from hypothesis import strategies as st

from groundup.core.errors import ConfigError
from groundup.corpus.language import LanguageConfig, identify, language_fault

SENTENCES = {
    "en": "The children were playing in the garden when it began to rain, and they ran into the house with their dog.",
    "de": "Die Kinder spielten im Garten, als es zu regnen begann, und sie liefen mit ihrem Hund in das Haus.",
    "fr": "Les enfants jouaient dans le jardin quand il a commencé à pleuvoir, et ils sont rentrés avec leur chien.",
    "es": "Los niños estaban en el jardín cuando empezó a llover, y por eso volvieron a la casa con su perro.",
    "it": "I bambini giocavano nel giardino quando è cominciata la pioggia, e sono tornati con il cane nella casa.",
    "pt": "As crianças brincavam no jardim quando começou a chover, e por isso voltaram para a casa com o seu cão.",
    "nl": "De kinderen speelden in de tuin toen het begon te regenen, en zij zijn met hun hond naar het huis gegaan.",
    "sv": "Barnen lekte i trädgården när det började regna, och då sprang de in i huset med sin hund för att torka.",
    "pl": "Dzieci bawiły się w ogrodzie, kiedy zaczęło padać, i dlatego wróciły do domu, gdy już było bardzo mokro.",
    "tr": "Çocuklar bahçede oynuyordu, ama sonra yağmur başladı ve bu yüzden köpek ile eve kadar koştular.",
    "ru": "Дети играли в саду, когда начался дождь, и они побежали в дом, но собака не хотела идти с ними.",
    "uk": "Діти грали в саду, коли почався дощ, і вони побігли до хати, але собака не хотів йти за ними.",
    "el": "Τα παιδιά έπαιζαν στον κήπο όταν άρχισε να βρέχει.",
    "ar": "كان الأطفال يلعبون في الحديقة عندما بدأ المطر.",
    "hi": "बच्चे बगीचे में खेल रहे थे जब बारिश शुरू हुई।",
    "ko": "아이들이 정원에서 놀고 있을 때 비가 오기 시작했다.",
    "ja": "子供たちが庭で遊んでいると、雨が降り始めた。",
    "zh": "孩子们正在花园里玩耍，这时开始下雨了。",
}


@pytest.mark.parametrize("language", SENTENCES)
def test_one_sentence_is_enough(language):
    found, score = identify(SENTENCES[language])
    assert found == language
    assert score > 0.3


def test_two_languages_at_once_are_doubtful():
    mixed = " ".join((SENTENCES["en"], SENTENCES["de"]))
    assert identify(mixed)[1] < min(identify(SENTENCES["en"])[1], identify(SENTENCES["de"])[1])


@pytest.mark.parametrize("text", ["", "1234 5678", "xkcd qwrt zzzz", "Smith Jones Miller Brown Wilson Taylor Clark"])
def test_no_language_scores_low(text):
    assert identify(text)[1] < 0.3


@given(st.text())
def test_score_is_a_share(text):
    assert 0 <= identify(text)[1] <= 1


def test_a_huge_text_costs_no_more_than_its_sample():
    assert identify(SENTENCES["en"] * 100_000) == identify((SENTENCES["en"] * 1000)[:20_000])


def test_filter_names_the_language_it_drops():
    config = LanguageConfig(keep=("en",))
    assert language_fault(SENTENCES["en"], config) == (None, "en")
    assert language_fault(SENTENCES["de"], config) == ("language_de", "de")
    assert language_fault("the Smith " + "Jones Miller Brown Wilson Taylor Clark Evans " * 2, config) == (
        "language_unsure",
        "en",
    )
    assert language_fault(SENTENCES["de"], LanguageConfig(keep=()))[0] is None
    with pytest.raises(ConfigError, match="'xx'"):
        LanguageConfig(keep=("xx",))
